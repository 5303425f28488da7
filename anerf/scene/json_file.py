"""JSON that a user brings, read and checked in one place so that every damage is one sentence."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference

Model = TypeVar("Model", bound=BaseModel)


def read_json(file: Path, shape: type[Model], missing: str) -> Model:
    """The content of `file` as `shape`; InputError names the file, what is wrong and the remedy.

    `missing` is the remedy where there is no such file. NaN and Infinity are numbers here: who uses a number
    checks whether it is finite, and can say of what.
    """
    return read_json_as(file, TypeAdapter(shape), missing)


def read_json_as(file: Path, shape: TypeAdapter[Any], missing: str) -> Any:
    """As `read_json`, for what is no object at its top."""
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file} is missing; {missing}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); check the file and its rights") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({error}); export it again") from None
    try:
        return shape.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{file}, {place}: {first['msg']}; correct it or export the file again") from None


def reference_in(file: Path, latitude_deg: float, longitude_deg: float, height_m: float) -> GeodeticReference:
    """The reference that `file` names; InputError with the file's name when it is no place on Earth."""
    try:
        return GeodeticReference(latitude_deg, longitude_deg, height_m)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None

"""Camera paths as JSON files, which viewers save and `op: video` and `anerf render` read.

Poses are ENU metres about the reference that the file names, so that a path of one scene can be used in
another of the same place, such as one that was prepared anew.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anerf.errors import InputError
from anerf.geometry.camera_path import CameraPath, KeyFrame
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef

MOST_KEYS = 10_000
MAX_BYTES = 8 * 2**20
_REACH_M = 20_000.0  # a path further away is of another place
_SAME_DEG, _SAME_HEIGHT_M = 1e-9, 1e-4

_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Reference(_Part):
    latitude_deg: float
    longitude_deg: float
    height_m: float


class _Key(_Part):
    time_s: float
    c2w: Annotated[list[_Row], Field(min_length=3, max_length=3)]
    fov_y_deg: float


class _PathFile(_Part):
    version: Literal[1]
    scene: str
    reference: _Reference
    keys: Annotated[list[_Key], Field(min_length=1, max_length=MOST_KEYS)]


def path_json(path: CameraPath, reference: GeodeticReference, scene: str) -> dict[str, Any]:
    """A path, in ENU metres about `reference`, as the content of a file; `scene` is a name for people."""
    return {
        "version": 1,
        "scene": scene,
        "reference": {
            "latitude_deg": reference.latitude_deg,
            "longitude_deg": reference.longitude_deg,
            "height_m": reference.height_m,
        },
        "keys": [
            {"time_s": key.time_s, "c2w": key.c2w.tolist(), "fov_y_deg": key.fov_y_deg} for key in path.keys
        ],
    }


def save_path(file: Path, path: CameraPath, reference: GeodeticReference, scene: str) -> None:
    """Write a path's file, whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        partial.write_text(json.dumps(path_json(path, reference, scene), indent=1), encoding="utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def read_path(file: Path, reference: GeodeticReference) -> CameraPath:
    """A saved path in ENU metres about `reference`, into which it is turned where the file names another.

    Raises:
        InputError: the file is missing, not a path, or of a place more than 20 km away.
    """
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"camera path {file} is not a file: give the file of a saved path")
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"camera path {file} cannot be read ({error.strerror}): give the file of a saved path"
        ) from None
    return path_from(content, reference, str(file))


def path_from(content: bytes | str, reference: GeodeticReference, where: str) -> CameraPath:
    """As `read_path`, of a file's content; `where` names it in errors."""
    if len(content) > MAX_BYTES:
        raise InputError(
            f"camera path {where} has more than {MAX_BYTES} bytes: give the file of a saved path"
        )
    try:
        told = _PathFile.model_validate(json.loads(content))
        own = GeodeticReference(**told.reference.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"camera path {where}, {place[:100]}: {first['msg']}; save it again") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"camera path {where} is not JSON ({error}): save it again") from None
    poses = _turned(np.array([key.c2w for key in told.keys], np.float64), own, reference)
    away_m = float(np.linalg.norm(poses[:, :, 3], axis=1).max())
    if away_m > _REACH_M:
        raise InputError(
            f"camera path {where} was made for scene {told.scene[:100]!r} and leads {away_m / 1000:.0f} km"
            f" away from this one, more than {_REACH_M / 1000:.0f} km: give a path of this place"
        )
    keys = zip(told.keys, poses, strict=True)
    return CameraPath(tuple(KeyFrame(key.time_s, pose, key.fov_y_deg) for key, pose in keys))


def _turned(poses: np.ndarray, own: GeodeticReference, wanted: GeodeticReference) -> np.ndarray:
    is_same = (
        abs(own.latitude_deg - wanted.latitude_deg) <= _SAME_DEG
        and abs(own.longitude_deg - wanted.longitude_deg) <= _SAME_DEG
        and abs(own.height_m - wanted.height_m) <= _SAME_HEIGHT_M
    )
    return poses if is_same else ecef_to_enu(enu_to_ecef(poses, own), wanted)

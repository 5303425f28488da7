"""Numbers given as one word with commas, such as `51.5,7.4,200`."""

from typing import get_args

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.placing import CameraOrigin


def reference_from(text: str) -> GeodeticReference:
    """`LATITUDE,LONGITUDE,HEIGHT` in degrees and metres."""
    latitude, longitude, height = _numbers(text, 3, "--enu-ref", "LATITUDE,LONGITUDE,HEIGHT")
    return GeodeticReference(latitude, longitude, height)


def origin_from(text: str) -> GeodeticReference | CameraOrigin:
    """`first`, `mean` or `median` (of the cameras), or `LATITUDE,LONGITUDE,HEIGHT`."""
    for word in get_args(CameraOrigin):
        if text == word:
            return word
    return reference_from(text)


def range_from(text: str) -> tuple[float, float]:
    """`LOW,HIGH` in metres, the lower first."""
    low, high = _numbers(text, 2, "--altitude-range", "LOW,HIGH")
    if not low < high:
        raise InputError(f"--altitude-range {text} is empty; give the lower height first")
    return low, high


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise InputError(f"{option} {text} is not of the form {form}; give {count} numbers with commas")
    return values

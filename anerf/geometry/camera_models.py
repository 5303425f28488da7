"""COLMAP's camera models by name: their numbers in files, their parameters, and which lens is behind each.

The 18 models are special cases of the lenses in `Family`. Names, numbers, and order of parameters are those
of COLMAP 4.2 (src/colmap/sensor/models).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

_RADIAL_4 = ("k1", "k2", "k3", "k4")


class Family(IntEnum):
    """Kinds of lenses; the numbers are also those of `Lens::family` in rays.cpp."""

    PINHOLE = 0
    OPENCV = 1
    """Radial polynomial and tangential terms in the plane at depth 1: k1, k2, p1, p2."""
    FULL_OPENCV = 2
    """The same with a rational radial part: k1, k2, p1, p2, k3, k4, k5, k6."""
    FISHEYE = 3
    """A radial polynomial of the angle from the axis: k1 to k6."""
    THIN_PRISM_FISHEYE = 4
    """Polynomial, tangential and prism terms of the angle's plane: k1, k2, p1, p2, k3, k4, sx1, sy1."""
    RAD_TAN_THIN_PRISM_FISHEYE = 5
    """FISHEYE, then tangential and prism terms: k0 to k5, p0, p1, s0 to s3."""
    FOV = 6
    """omega."""
    DIVISION = 7
    """k."""
    EUCM = 8
    """alpha, beta."""
    EQUIRECTANGULAR = 9
    """Longitude and latitude; no parameter."""


@dataclass(frozen=True)
class CameraModel:
    """One of COLMAP's models."""

    number: int
    """COLMAP's id."""
    family: Family
    params: tuple[str, ...]
    """All parameters, in order."""
    coefficients: tuple[str, ...] = ()
    """Parameters in the order of the family, which may go on with zeros."""
    two_focal: str | None = None
    """The model of the same lens with a focal length for each axis, where this one has only one."""


_ONE, _TWO = ("f", "cx", "cy"), ("fx", "fy", "cx", "cy")
_OPENCV = ("k1", "k2", "p1", "p2")
_FULL = (*_OPENCV, "k3", "k4", "k5", "k6")
_PRISM = (*_OPENCV, "k3", "k4", "sx1", "sy1")
_RAD_TAN = ("k0", "k1", "k2", "k3", "k4", "k5", "p0", "p1", "s0", "s1", "s2", "s3")

CAMERA_MODELS: dict[str, CameraModel] = {
    "SIMPLE_PINHOLE": CameraModel(0, Family.PINHOLE, _ONE, two_focal="PINHOLE"),
    "PINHOLE": CameraModel(1, Family.PINHOLE, _TWO),
    "SIMPLE_RADIAL": CameraModel(2, Family.OPENCV, (*_ONE, "k"), ("k",), "OPENCV"),
    "RADIAL": CameraModel(3, Family.OPENCV, (*_ONE, "k1", "k2"), ("k1", "k2"), "OPENCV"),
    "OPENCV": CameraModel(4, Family.OPENCV, (*_TWO, *_OPENCV), _OPENCV),
    "OPENCV_FISHEYE": CameraModel(5, Family.FISHEYE, (*_TWO, *_RADIAL_4), _RADIAL_4),
    "FULL_OPENCV": CameraModel(6, Family.FULL_OPENCV, (*_TWO, *_FULL), _FULL),
    "FOV": CameraModel(7, Family.FOV, (*_TWO, "omega"), ("omega",)),
    "SIMPLE_RADIAL_FISHEYE": CameraModel(8, Family.FISHEYE, (*_ONE, "k"), ("k",), "OPENCV_FISHEYE"),
    "RADIAL_FISHEYE": CameraModel(9, Family.FISHEYE, (*_ONE, "k1", "k2"), ("k1", "k2"), "OPENCV_FISHEYE"),
    "THIN_PRISM_FISHEYE": CameraModel(10, Family.THIN_PRISM_FISHEYE, (*_TWO, *_PRISM), _PRISM),
    "RAD_TAN_THIN_PRISM_FISHEYE": CameraModel(
        11, Family.RAD_TAN_THIN_PRISM_FISHEYE, (*_TWO, *_RAD_TAN), _RAD_TAN
    ),
    "SIMPLE_DIVISION": CameraModel(12, Family.DIVISION, (*_ONE, "k"), ("k",), "DIVISION"),
    "DIVISION": CameraModel(13, Family.DIVISION, (*_TWO, "k"), ("k",)),
    "SIMPLE_FISHEYE": CameraModel(14, Family.FISHEYE, _ONE, two_focal="FISHEYE"),
    "FISHEYE": CameraModel(15, Family.FISHEYE, _TWO),
    "EUCM": CameraModel(16, Family.EUCM, (*_TWO, "alpha", "beta"), ("alpha", "beta")),
    "EQUIRECTANGULAR": CameraModel(17, Family.EQUIRECTANGULAR, ("w", "h")),
}
PARAMETER_NAMES: dict[str, tuple[str, ...]] = {name: model.params for name, model in CAMERA_MODELS.items()}
MODEL_OF_NUMBER: dict[int, str] = {model.number: name for name, model in CAMERA_MODELS.items()}


def two_focal_sibling(model: str, named: Mapping[str, float]) -> tuple[str, dict[str, float]]:
    """The model with `fx` and `fy` that is the same lens, and its coefficients by name.

    `named` are the coefficients of `model`; those that only the sibling has are zero. A model that has both
    focal lengths is its own sibling.
    """
    this = CAMERA_MODELS[model]
    if this.two_focal is None:
        return model, {name: named[name] for name in this.coefficients}
    names = CAMERA_MODELS[this.two_focal].coefficients
    values = [named[name] for name in this.coefficients] + [0.0] * len(names)
    return this.two_focal, dict(zip(names, values, strict=False))

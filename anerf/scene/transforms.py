"""`transforms.json`: poses in nerfstudio's format, with or without a place on Earth.

Beyond nerfstudio's keys we read `enu_reference` (`latitude_deg`, `longitude_deg`, `altitude_m`), which says
where the poses' ENU frame lies, `altitude_range_enu_m`, and a frame's `split`.
"""

import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.scene.colmap import read_colmap
from anerf.scene.json_file import read_json, reference_in
from anerf.scene.photographs import check_names
from anerf.scene.survey import Photograph, Survey, check_pose, model_folder

TRANSFORMS_FILE = "transforms.json"
SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What nerfstudio calls the lens says little: distortion counts wherever it is given.
_PERSPECTIVE = {"", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"}
_FISHEYE = {
    "OPENCV_FISHEYE",
    "FISHEYE",
    "SIMPLE_FISHEYE",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "THIN_PRISM_FISHEYE",
}
_READ = (*sorted(_PERSPECTIVE - {""}), "FULL_OPENCV", *sorted(_FISHEYE), "FOV")


class _Intrinsics(BaseModel):
    """Given for all frames at the top, or for one frame, which then wins."""

    model_config = ConfigDict(extra="ignore")

    camera_model: str | None = None
    w: int | None = None
    h: int | None = None
    fl_x: float | None = None
    fl_y: float | None = None
    cx: float | None = None
    cy: float | None = None
    camera_angle_x: float | None = None
    k1: float | None = None
    k2: float | None = None
    k3: float | None = None
    k4: float | None = None
    k5: float | None = None
    k6: float | None = None
    p1: float | None = None
    p2: float | None = None
    sx1: float | None = None
    sy1: float | None = None
    omega: float | None = None


class _Frame(_Intrinsics):
    file_path: str
    transform_matrix: list[list[float]]
    mask_path: str | None = None
    split: str | None = None


class _Reference(BaseModel):
    latitude_deg: float
    longitude_deg: float
    altitude_m: float


class _Transforms(_Intrinsics):
    frames: list[_Frame]
    enu_reference: _Reference | None = None
    altitude_range_enu_m: tuple[float, float] | None = None
    applied_transform: list[list[float]] | None = None
    applied_scale: float | None = None
    train_filenames: list[str] | None = None
    val_filenames: list[str] | None = None
    test_filenames: list[str] | None = None


def read_transforms_survey(root: Path) -> Survey:
    """A survey of photographs and `transforms.json`; a COLMAP model beside it gives the sparse points."""
    file = root / TRANSFORMS_FILE
    data = read_json(file, _Transforms, "put it there or use a survey with a COLMAP model")
    if not data.frames:
        raise InputError(f"{file} has no frames; list at least one photograph under frames")
    check_names((_inside(frame.file_path) for frame in data.frames), file)
    check_names({frame.mask_path for frame in data.frames if frame.mask_path}, file)
    named = _named_splits(data)
    photographs = tuple(
        Photograph(
            name=_scene_name(frame.file_path),
            source=root / _inside(frame.file_path),
            camera=_camera(frame, data, file),
            c2w=check_pose(_pose(frame, data, file), frame.file_path, file),
            split=_split(frame, named, file),
            mask=root / frame.mask_path if frame.mask_path else None,
        )
        for frame in data.frames
    )
    check_names((photograph.name for photograph in photographs), file)
    place = data.enu_reference
    folder = model_folder(root)
    return Survey(
        root,
        "transforms",
        photographs,
        reference=reference_in(file, place.latitude_deg, place.longitude_deg, place.altitude_m)
        if place
        else None,
        model=read_colmap(folder) if folder else None,
        altitude_range_m=data.altitude_range_enu_m,
    )


def _inside(file_path: str) -> str:
    return file_path.removeprefix("./")


def _scene_name(file_path: str) -> str:
    """The path below `images/` that a photograph gets in the scene."""
    return PurePosixPath(_inside(file_path)).as_posix().removeprefix("images/")


def _named_splits(data: _Transforms) -> dict[str, str]:
    """nerfstudio's lists of file names; what it calls test is for validation here."""
    lists = (("train", data.train_filenames), ("val", data.val_filenames), ("val", data.test_filenames))
    return {_inside(name): split for split, names in lists for name in names or ()}


def _split(frame: _Frame, named: dict[str, str], file: Path) -> str | None:
    split = frame.split or named.get(_inside(frame.file_path))
    if split is not None and not SPLIT_NAME.fullmatch(split):
        raise InputError(
            f"{file}: {frame.file_path} is in the split {split!r}; use up to 64 letters, digits, dots, dashes"
        )
    return split


def _camera(frame: _Frame, data: _Transforms, file: Path) -> Camera:
    both = data.model_dump(include=set(_Intrinsics.model_fields))
    both |= {key: value for key, value in frame.model_dump(include=set(both)).items() if value is not None}
    width, height = both["w"], both["h"]
    if both["fl_x"] is None and both["camera_angle_x"] and width:
        both["fl_x"] = 0.5 * width / math.tan(0.5 * both["camera_angle_x"])
    if not (width and height and both["fl_x"]):
        raise InputError(
            f"{file}: {frame.file_path} lacks w, h or fl_x; give them for the frame or at the top"
        )
    fx, fy = both["fl_x"], both["fl_y"] or both["fl_x"]
    cx, cy = (
        both[key] if both[key] is not None else side / 2 for key, side in (("cx", width), ("cy", height))
    )
    try:
        model, lens = _lens(both)
        return Camera(model, width, height, (fx, fy, cx, cy, *lens))
    except InputError as error:
        raise InputError(f"{file}: {frame.file_path}: {error}") from None


def _lens(given: dict[str, Any]) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model for nerfstudio's, and its coefficients.

    nerfstudio's radial gain is 1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8, r the angle for fisheyes (nerfstudio,
    cameras/camera_utils.py). OpenCV's own k4 is in a denominator: only FULL_OPENCV means that one.
    """
    model = given["camera_model"] or ""
    k1, k2, k3, k4, p1, p2 = (given[key] or 0.0 for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    k5, k6, sx1, sy1 = (given[key] or 0.0 for key in ("k5", "k6", "sx1", "sy1"))
    if model == "FULL_OPENCV":
        return model, (k1, k2, p1, p2, k3, k4, k5, k6)
    if model in _PERSPECTIVE:
        if k4 or k5 or k6:
            raise InputError(
                f"a {model or 'perspective'} lens with k4 {k4}, k5 {k5}, k6 {k6} cannot be used, only k1 to "
                "k3; calibrate with fewer coefficients, or write FULL_OPENCV if they are OpenCV's"
            )
        if k3:
            return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
        return ("OPENCV", (k1, k2, p1, p2)) if k1 or k2 or p1 or p2 else ("PINHOLE", ())
    if model in _FISHEYE:
        if k5 or k6:
            raise InputError(
                f"a {model} lens with k5 {k5}, k6 {k6} cannot be used, only k1 to k4; calibrate with fewer "
                "coefficients"
            )
        if p1 or p2 or sx1 or sy1:
            return "THIN_PRISM_FISHEYE", (k1, k2, p1, p2, k3, k4, sx1, sy1)
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if model == "FOV":
        return model, (given["omega"] or 0.0,)
    raise InputError(
        f"a {model} camera cannot be read from here (only {', '.join(_READ)}); undistort the photographs to "
        "PINHOLE, or bring a COLMAP model in place of this file"
    )


def _pose(frame: _Frame, data: _Transforms, file: Path) -> Float[np.ndarray, "3 4"]:
    matrix = _matrix(frame.transform_matrix, f"transform_matrix of {frame.file_path}", file)
    # nerfstudio's importer may have turned and scaled the world; what it applied is taken back.
    matrix[:3, 3] /= data.applied_scale or 1.0
    if data.applied_transform is not None:
        applied = _matrix(data.applied_transform, "applied_transform", file)
        check_pose(applied[:3], "applied_transform", file)
        matrix = np.linalg.inv(applied) @ matrix
    return matrix[:3]


def _matrix(rows: list[list[float]], what: str, file: Path) -> Float[np.ndarray, "4 4"]:
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        raise InputError(f"{file}: {what} is not 4 x 4 (or 3 x 4); export the file again")
    return np.array([*rows[:3], [0.0, 0.0, 0.0, 1.0]])

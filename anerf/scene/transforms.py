"""`transforms.json`: poses in nerfstudio's format, with or without a place on Earth.

Beyond nerfstudio's keys we read `enu_reference` (`latitude_deg`, `longitude_deg`, `altitude_m`), which says
where the poses' ENU frame lies, `altitude_range_enu_m`, and a frame's `split`.
"""

import math
import re
from pathlib import Path, PurePosixPath

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
_MODELS = {"", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"}


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
    p1: float | None = None
    p2: float | None = None


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
    if (both["camera_model"] or "") not in _MODELS or both["k3"] or both["k4"]:
        raise InputError(
            f"{file}: {frame.file_path} has a {both['camera_model']} lens, k3 or k4, which cannot be used; "
            "undistort the photographs to PINHOLE first"
        )
    fx, fy = both["fl_x"], both["fl_y"] or both["fl_x"]
    cx, cy = (
        both[key] if both[key] is not None else side / 2 for key, side in (("cx", width), ("cy", height))
    )
    lens = tuple(both[key] or 0.0 for key in ("k1", "k2", "p1", "p2"))
    try:
        if any(lens):
            return Camera("OPENCV", width, height, (fx, fy, cx, cy, *lens))
        return Camera("PINHOLE", width, height, (fx, fy, cx, cy))
    except InputError as error:
        raise InputError(f"{file}: {frame.file_path}: {error}") from None


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

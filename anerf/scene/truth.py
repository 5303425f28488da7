"""What is known about photographs beyond their pixels: how far things are, and where an event changed them.

A survey that was made, or measured by other means, may bring it. Scores use it; nothing is learned from it.
Survey and scene hold it alike, beside `images/`: `truth/depth/<photograph>.npy` and
`truth/changed/<photograph>.png`, where `<photograph>` is the path below `images/`.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.scene.frames import Frame
from anerf.scene.photographs import UNREADABLE
from anerf.scene.scene import Scene


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """The truth about one photograph at some size; None is what nobody knows."""

    depth_m: Float32[np.ndarray, "h w"] | None
    """Metres along the ray of each pixel's centre; not finite where it is unknown or nothing is there."""
    changed: Bool[np.ndarray, "h w"] | None
    """Where the event changed what the photograph shows (or, if it is older, would have shown)."""


def depth_file(root: Path, name: str) -> Path:
    """Where the true depth of photograph `name` (its path below `images/`) is in a survey or scene."""
    return root / "truth" / "depth" / f"{name}.npy"


def changed_file(root: Path, name: str) -> Path:
    """Where the mask of what the event changed in photograph `name` is in a survey or scene."""
    return root / "truth" / "changed" / f"{name}.png"


def take_truth(survey: Path, frames: Sequence[Frame], root: Path, prefix: str = "") -> None:
    """Copies what the folder `survey` knows about `frames`, which were taken from it, to the scene at `root`.

    A frame's photograph was `images/<name>` in the survey and is `images/<prefix><name>` in the scene. All
    files are checked before the first is copied; what the scene holds under these names is replaced.

    Raises:
        InputError: a file is damaged, or has not the size of its photograph.
    """
    names = [frame.file.removeprefix(f"images/{prefix}") for frame in frames]
    for frame, name in zip(frames, names, strict=True):
        _read(survey, name, frame.camera)
    for name in names:
        for place in (depth_file, changed_file):
            _replace(place(survey, name), place(root, f"{prefix}{name}"))


def read_truth(scene: Scene, frame: Frame, camera: Camera) -> FrameTruth:
    """The truth about `frame` at the size of `camera` (the frame's, scaled).

    Every pixel takes the value of the photograph's pixel nearest to its centre: a mean over an edge would be
    a depth where nothing is.

    Raises:
        InputError: a file is damaged, or has not the size of its photograph.
    """
    full = _read(scene.root, frame.file.removeprefix("images/"), frame.camera)
    rows, columns = _nearest(frame.camera.height, camera.height), _nearest(frame.camera.width, camera.width)
    return FrameTruth(
        None if full.depth_m is None else np.asarray(full.depth_m[rows[:, None], columns]),
        None if full.changed is None else full.changed[rows[:, None], columns],
    )


def _nearest(n: int, n_wanted: int) -> np.ndarray:
    """For each of `n_wanted` pixels along a side of `n`, the one that its centre lies in."""
    return ((2 * np.arange(n_wanted) + 1) * n) // (2 * n_wanted)


def _read(root: Path, name: str, camera: Camera) -> FrameTruth:
    depth, changed = depth_file(root, name), changed_file(root, name)
    return FrameTruth(
        _read_depth(depth, camera) if depth.is_file() else None,
        _read_changed(changed, camera) if changed.is_file() else None,
    )


def _read_depth(path: Path, camera: Camera) -> Float32[np.ndarray, "h w"]:
    try:
        depth_m = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it again or remove it") from None
    if depth_m.dtype != np.float32 or depth_m.shape != (camera.height, camera.width):
        raise InputError(
            f"{path} holds {depth_m.dtype} {depth_m.shape}, not float32 {(camera.height, camera.width)}: a "
            "depth in metres for each of its photograph's pixels; write it again or remove it"
        )
    return depth_m


def _read_changed(path: Path, camera: Camera) -> Bool[np.ndarray, "h w"]:
    try:
        with Image.open(path) as picture:
            changed = np.asarray(picture.convert("L")) > 127
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be decoded ({error}); write it again or remove it") from None
    if changed.shape != (camera.height, camera.width):
        raise InputError(
            f"{path} has {changed.shape[1]} x {changed.shape[0]} pixels but its photograph has "
            f"{camera.width} x {camera.height}; write it again or remove it"
        )
    return changed


def _replace(source: Path, target: Path) -> None:
    if not source.is_file():
        target.unlink(missing_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, partial)
    partial.replace(target)

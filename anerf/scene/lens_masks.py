"""Masks of what cameras do not show: black borders of undistorted pictures, and corners beyond a lens."""

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.cameras import Camera, seen_pixels
from anerf.scene.borders import border_of_photographs
from anerf.scene.frames import Frame

_LEAST_SEEN = 0.25  # of a picture: a lens that explains less of it was calibrated wrongly
log = logging.getLogger(__name__)


def with_lens_masks(frames: tuple[Frame, ...], images: Path, masks: Path, prefix: str) -> tuple[Frame, ...]:
    """The frames with masks of what their cameras do not show, each shared by all frames of a camera."""
    alike: dict[tuple[Camera, str | None], list[int]] = defaultdict(list)
    for i, frame in enumerate(frames):
        alike[frame.camera, frame.mask].append(i)
    done = list(frames)
    for (camera, mask), members in alike.items():
        files = [images / frames[i].file.removeprefix(f"images/{prefix}") for i in members]
        border = border_of_photographs(files) if mask is None else None
        unseen = _unseen(camera, files[0].name)
        if border is None and unseen is None:
            continue
        keep = np.full((camera.height, camera.width), 255, np.uint8)
        if mask is not None:
            keep[_mask_pixels(masks / mask.removeprefix(f"masks/{prefix}")) == 0] = 0
        for excluded, what in ((border, "black border"), (unseen, "no picture through the lens")):
            if excluded is not None:
                keep[excluded] = 0
                log.info(
                    "%d pixels of %d photographs such as %s are not learned from: %s",
                    excluded.sum(), len(members), files[0].name, what,
                )  # fmt: skip
        number = next(n for n in range(len(frames) + 1) if not (masks / f"border-{n}.png").exists())
        masks.mkdir(parents=True, exist_ok=True)
        Image.fromarray(keep).save(masks / f"border-{number}.png")
        for i in members:
            done[i] = replace(frames[i], mask=f"masks/{prefix}border-{number}.png")
    return tuple(done)


def _unseen(camera: Camera, name: str) -> Bool[np.ndarray, "h w"] | None:
    seen = seen_pixels(camera)
    if seen is None:
        return None
    if seen.mean() < _LEAST_SEEN:
        raise InputError(
            f"the {camera.model} camera of {name} with parameters {camera.params} explains only "
            f"{100 * seen.mean():.0f} % of its picture, less than {100 * _LEAST_SEEN:.0f} %: elsewhere its "
            "distortion folds back; calibrate it again, or undistort the photographs"
        )
    return ~seen


def _mask_pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("L"))

"""Frames of a film: what a camera on its path sees, as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from anerf.geometry.camera_path import KeyFrame
from anerf.geometry.cameras import Camera
from anerf.products.colormap import Range, depth_range_m
from anerf.products.layers import layer_picture
from anerf.render.picture import Picture, render_picture
from anerf.render.scene_model import SceneModel

FilmLayer = Literal["rgb", "depth", "rgb_depth", "before_after"]
SIDE_BY_SIDE: tuple[FilmLayer, ...] = ("rgb_depth", "before_after")
_RANGE_VIEWS, _RANGE_WIDTH = 9, 96


@dataclass(frozen=True)
class FilmLook:
    """What every frame shows: size of a picture in pixels, samples of a ray, whose look."""

    layer: FilmLayer
    width: int
    height: int
    samples: int
    flight: str | None = None

    @property
    def frame_width(self) -> int:
        """Of the film: two pictures may stand side by side."""
        return self.width * (2 if self.layer in SIDE_BY_SIDE else 1)

    @property
    def needs_depth(self) -> bool:
        """Whether depth is coloured, and needs a range for that."""
        return self.layer in ("depth", "rgb_depth")


def film_frame(
    model: SceneModel, before: SceneModel | None, look: FilmLook, key: KeyFrame, range_m: Range | None
) -> UInt8[np.ndarray, "h w 3"]:
    """One frame.

    Args:
        model: The scene.
        before: What stands on the left of `before_after`; it shows its first flight's look where it does not
            know the wanted one.
        look: What to show.
        key: From where.
        range_m: Between which depths colours run, the same for all frames.
    """
    picture = _picture(model, look, key, look.flight)
    match look.layer:
        case "rgb":
            return layer_picture(picture, "rgb")
        case "depth":
            return layer_picture(picture, "depth", range_m)
        case "rgb_depth":
            return np.hstack((layer_picture(picture, "rgb"), layer_picture(picture, "depth", range_m)))
        case "before_after":
            assert before is not None
            flight = look.flight if look.flight in before.flights else None
            left = _picture(before, look, key, flight)
            return np.hstack((layer_picture(left, "rgb"), layer_picture(picture, "rgb")))


def film_depth_range_m(model: SceneModel, look: FilmLook, frames: Sequence[KeyFrame]) -> Range:
    """Between which depths in metres nearly all lies that the film shows, by small pictures on its way."""
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _RANGE_VIEWS).round().astype(int))]
    height = max(2, round(_RANGE_WIDTH * look.height / look.width))
    small = FilmLook("depth", _RANGE_WIDTH, height, look.samples, look.flight)
    seen = [_picture(model, small, key, look.flight) for key in chosen]
    return depth_range_m(
        np.concatenate([p.depth_m.ravel() for p in seen]), np.concatenate([p.opacity.ravel() for p in seen])
    )


def _picture(model: SceneModel, look: FilmLook, key: KeyFrame, flight: str | None) -> Picture:
    camera = Camera.from_fov(look.width, look.height, key.fov_y_deg)
    return render_picture(model, camera, key.c2w, samples=look.samples, flight=flight)

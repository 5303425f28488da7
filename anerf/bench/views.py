"""Which view of a checkpoint is rendered: a photograph's, or one from above that shows the whole box."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from anerf.errors import InputError, SceneError
from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.learn.rays import flight_of
from anerf.render.scene_model import SceneModel
from anerf.scene.decode import decode_frame
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene

FOV_Y_DEG = 50.0


@dataclass(frozen=True, eq=False)
class Photograph:
    """What a view should look like (sRGB in [0, 1]), and where that counts."""

    rgb: Float[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class View:
    """A camera, its pose (ENU metres), the flight whose look is shown, and a photograph if there is one."""

    name: str
    camera: Camera
    c2w: Float[np.ndarray, "3 4"]
    flight: str | None
    photograph: Photograph | None


def view_from_above(model: SceneModel, width: int, height: int) -> View:
    """Straight down over the scene's origin, from where all of the box is seen; north is up."""
    camera = Camera.from_fov(width, height, FOV_Y_DEG)
    x, y, _ = model.origin
    lo, hi = model.aabb.lo, model.aabb.hi
    half_x_m, half_y_m = max(hi[0] - x, x - lo[0]), max(hi[1] - y, y - lo[1])
    tan_y = math.tan(math.radians(FOV_Y_DEG) / 2)
    above_m = max(half_x_m / (tan_y * width / height), half_y_m / tan_y)
    pose = look_at((x, y, hi[2] + above_m), (x, y, hi[2]))
    return View(f"from {above_m:.0f} m above the box", camera, pose, None, None)


def photographed_view(model: SceneModel, scene: Scene, file: str | None, width: int, height: int) -> View:
    """The view of a photograph, no larger than asked for; the first validation view where `file` is None.

    Raises:
        InputError: the checkpoint was learned on another scene.
        SceneError: there is no such photograph.
    """
    if model.reference != scene.reference:
        raise InputError(
            f"the checkpoint was learned on {model.scene_name}, which lies elsewhere than scene {scene.root}:"
            " give the scene that it was learned on"
        )
    frame = _frame(scene, file)
    downscale = min(1.0, width / frame.camera.width, height / frame.camera.height)
    image, mask = decode_frame(scene, frame, downscale)
    known = flight_of(frame.split) in model.flights
    return View(
        frame.file,
        frame.camera.scaled(downscale),
        frame.c2w,
        flight_of(frame.split) if known else None,
        Photograph(image.astype(np.float32) / 255, mask),
    )


def _frame(scene: Scene, file: str | None) -> Frame:
    if file is None:
        return scene.frames_of("val")[0]
    for frame in scene.frames:
        if file in (frame.file, frame.file.rsplit("/", 1)[-1]):
            return frame
    raise SceneError(
        f"scene {scene.root} has no photograph {file}: give one of its frames, such as {scene.frames[0].file}"
    )

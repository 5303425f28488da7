"""Widens a scene's box to what a later flight sees; origin and scale stay, so nothing learned moves."""

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from anerf.geometry.boxes import Aabb, intersect_aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.rays import rays_from_pixels
from anerf.scene.extent import box_of_points, box_of_views
from anerf.scene.placing import PlacedSurvey
from anerf.scene.scene import Scene, save_points

log = logging.getLogger(__name__)

_GRID = 9  # rays each way that tell whether a photograph sees a box
_FEWEST_POINTS = 20


def sees_box(camera: Camera, c2w: Float[np.ndarray, "3 4"], aabb: Aabb) -> bool:
    """Whether rays of the photograph, on a grid over it and along its border, meet the box."""
    x, y = np.meshgrid(np.linspace(0, camera.width, _GRID), np.linspace(0, camera.height, _GRID))
    xy = torch.from_numpy(np.stack((x.ravel(), y.ravel()), axis=1))
    rays_o, rays_d = rays_from_pixels(camera, torch.from_numpy(c2w), xy)
    near, far = intersect_aabb(rays_o, rays_d, aabb)
    return bool((far > near).any())


def grown_scene(scene: Scene, placed: PlacedSurvey, positions: list[int]) -> Scene:
    """The scene with a box that also holds what the survey's points, or else its views, show.

    Partitions keep the boxes that they were made with.
    """
    if len(placed.points_xyz) >= _FEWEST_POINTS:
        seen = box_of_points(placed.points_xyz, None)
    else:
        cameras = [placed.survey.photographs[position].camera for position in positions]
        seen = box_of_views(cameras, placed.c2w[positions], (scene.aabb.lo[2], scene.aabb.hi[2]))
    box = scene.aabb.union(seen)
    size, was = (" x ".join(f"{side:.0f}" for side in aabb.size) for aabb in (box, scene.aabb))
    log.warning(
        "the box of %s grows from %s to %s m; partitions made before do not reach the new ground: make "
        "another",
        scene.root, was, size,
    )  # fmt: skip
    highest_m = max(scene.altitude_range_m[1], box.hi[2], float(placed.c2w[positions, 2, 3].max()))
    return replace(scene, aabb=box, altitude_range_m=(box.lo[2], highest_m))


def add_points(grown: Scene, old: Scene, placed: PlacedSurvey) -> None:
    """Adds the survey's sparse points beyond the old box, so that the heights of new ground are known."""
    model = placed.survey.model
    if model is None or not len(placed.points_xyz):
        return
    beyond = ~old.aabb.contains(placed.points_xyz) & grown.aabb.contains(placed.points_xyz)
    xyz, rgb = old.points()
    save_points(
        grown.root,
        np.concatenate((xyz, placed.points_xyz[beyond])),
        np.concatenate((rgb, model.points_rgb[beyond])),
    )

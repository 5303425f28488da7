"""What part of the world a scene learns: its box, from sparse points or from what the cameras look at."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.boxes import Aabb
from anerf.geometry.camera_models import Family
from anerf.geometry.cameras import Camera, seen_positions
from anerf.geometry.rays import rays_from_pixels

# A few wrong points lie far away: they must not decide the box.
_TAIL_PERCENT = 0.5
_HEIGHT_TAIL_PERCENT = 0.1
# In a small survey even one is more than such a tail: further out than nine in ten, times this, is wrong.
_WRONG_REACH = 10.0
_SIDE_MARGIN = 0.05
# Points miss thin and smooth things: below, pits and water; above, masts, trees and roof ridges.
_BELOW_M, _ABOVE_M = 5.0, 10.0
_ENOUGH_POINTS = 20
# Without points, ground further away than this many flying heights is not part of the scene.
_REACH_HEIGHTS = 2.0
_GRID_SIDE = 17  # places across a picture in which a wide lens looks at the ground


def box_of_points(points_xyz: Float[np.ndarray, "p 3"], heights_m: tuple[float, float] | None) -> Aabb:
    """The box (ENU metres) of nearly all points with a margin; `heights_m` replaces its heights if given.

    Cameras do not widen it: where they only look outwards there is nothing to learn from.
    """
    if len(points_xyz) < _ENOUGH_POINTS:
        raise InputError(
            f"the survey has only {len(points_xyz)} sparse points, but its box needs {_ENOUGH_POINTS}; "
            "reconstruct it again, or remove its model and give its heights with --altitude-range LOW,HIGH"
        )
    away = np.linalg.norm(points_xyz - np.median(points_xyz, axis=0), axis=1)
    points_xyz = points_xyz[away <= _WRONG_REACH * np.percentile(away, 90)]
    west_south = np.percentile(points_xyz[:, :2], _TAIL_PERCENT, axis=0)
    east_north = np.percentile(points_xyz[:, :2], 100 - _TAIL_PERCENT, axis=0)
    margin = _SIDE_MARGIN * (east_north - west_south).max()
    low, high = np.percentile(points_xyz[:, 2], (_HEIGHT_TAIL_PERCENT, 100 - _HEIGHT_TAIL_PERCENT))
    low_m, high_m = heights_m or (float(low) - _BELOW_M, float(high) + _ABOVE_M)
    return _box(west_south - margin, east_north + margin, low_m, high_m)


def box_of_views(
    cameras: Sequence[Camera], c2w: Float[np.ndarray, "n 3 4"], heights_m: tuple[float, float]
) -> Aabb:
    """The box (ENU metres) of the ground at the lower height that the pictures' borders look at.

    Of lenses that see sideways and behind, such as fisheyes, the whole picture counts.

    Sideways looks end at two flying heights; at least one camera must stand above that ground.
    """
    low_m, high_m = heights_m
    ground = [_seen_ground(camera, pose, low_m) for camera, pose in zip(cameras, c2w, strict=True)]
    xy = np.concatenate([place for place in ground if place is not None] or [np.empty((0, 2))])
    if not len(xy):
        raise InputError(
            f"no camera stands above {low_m} m ENU, the lower end of the altitude range; give the heights of "
            "the surfaces relative to the reference with --altitude-range LOW,HIGH"
        )
    return _box(xy.min(axis=0), xy.max(axis=0), low_m, high_m)


def _seen_ground(
    camera: Camera, c2w: Float[np.ndarray, "3 4"], ground_m: float
) -> Float[np.ndarray, "n 2"] | None:
    height_m = c2w[2, 3] - ground_m
    if height_m <= 0:
        return None
    w, h = float(camera.width), float(camera.height)
    border = [[0, 0], [w / 2, 0], [w, 0], [0, h / 2], [w, h / 2], [0, h], [w / 2, h], [w, h]]
    places = torch.tensor(border, dtype=torch.float64)
    if camera.lens.family >= Family.FISHEYE:
        share = torch.linspace(0, 1, _GRID_SIDE, dtype=torch.float64)
        places = torch.cartesian_prod(share * w, share * h)
        places = places[seen_positions(camera, places)]
    _, directions = rays_from_pixels(camera, torch.from_numpy(c2w), places)
    d = directions.numpy()
    falls = np.maximum(-d[:, 2], 1e-9)
    away = d[:, :2] / falls[:, None] * height_m
    reach = np.minimum(1.0, _REACH_HEIGHTS * height_m / np.maximum(np.linalg.norm(away, axis=1), 1e-9))
    return c2w[:2, 3] + away * reach[:, None]


def _box(west_south: np.ndarray, east_north: np.ndarray, low_m: float, high_m: float) -> Aabb:
    if not low_m < high_m:
        raise InputError(f"the altitude range {low_m} to {high_m} m is empty; give the lower height first")
    if not (east_north > west_south).all():
        raise InputError("the survey's points or views span no area; check that its poses are in metres")
    (west, south), (east, north) = west_south.tolist(), east_north.tolist()
    return Aabb((west, south, low_m), (east, north, high_m))

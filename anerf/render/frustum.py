"""Which boxes a view can show: what is chosen here is all that has to be loaded and asked."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera

_PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE")


def in_view(
    camera: Camera,
    c2w: Float[np.ndarray, "3 4"],
    boxes: Sequence[Aabb],
    *,
    rows: tuple[int, int] | None = None,
    near_m: float = 0.0,
    far_m: float = float("inf"),
) -> Bool[np.ndarray, " e"]:
    """Which boxes (ENU metres) may meet a ray of the view between `near_m` and `far_m` along it.

    A box is left out where it lies wholly beyond one side of the viewing pyramid, or is wholly too near or
    too far; one that is kept may still show nothing. `rows` narrows the view to these rows of pixels. Lenses
    with distortion have no straight sides, so that only distance leaves boxes out for them.
    """
    lo = np.array([box.lo for box in boxes], np.float64).reshape(-1, 3)
    hi = np.array([box.hi for box in boxes], np.float64).reshape(-1, 3)
    eye, rotation = np.asarray(c2w, np.float64)[:3, 3], np.asarray(c2w, np.float64)[:3, :3]
    nearest = np.linalg.norm(np.clip(eye, lo, hi) - eye, axis=1)
    farthest = np.linalg.norm(np.maximum(np.abs(lo - eye), np.abs(hi - eye)), axis=1)
    seen: Bool[np.ndarray, " e"] = (nearest <= far_m) & (farthest >= near_m)
    if camera.model in _PERSPECTIVE:
        for inward in _sides(camera, rows) @ rotation.T:
            # The corner that lies farthest inwards: if even that one is outside, all are.
            corner = np.where(inward > 0, hi, lo) - eye
            seen &= corner @ inward >= -1e-9 * (1 + np.abs(corner).max(axis=1, initial=0))
    return seen


def meeting_rays(
    origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], boxes: Sequence[Aabb]
) -> Bool[np.ndarray, " e"]:
    """Which boxes (frame and unit of the rays) any of the rays meets (slab test, in float64)."""
    origins, directions = np.asarray(origins, np.float64), np.asarray(directions, np.float64)
    with np.errstate(divide="ignore"):
        inverse = 1 / np.where(directions == 0, 1e-300, directions)
    found = np.zeros(len(boxes), bool)
    for i, box in enumerate(boxes):
        with np.errstate(over="ignore"):
            a, b = (np.array(box.lo) - origins) * inverse, (np.array(box.hi) - origins) * inverse
        enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
        found[i] = bool(((leave >= enter) & (leave >= 0)).any())
    return found


def _sides(camera: Camera, rows: tuple[int, int] | None) -> Float[np.ndarray, "5 3"]:
    """Inward normals, in camera axes, of the pyramid's sides and of the plane through the eye."""
    top, bottom = (0, camera.height) if rows is None else rows
    left, right = -camera.cx / camera.fx, (camera.width - camera.cx) / camera.fx
    up, down = (camera.cy - top) / camera.fy, (camera.cy - bottom) / camera.fy
    return np.array([[1, 0, left], [-1, 0, -right], [0, -1, -up], [0, 1, down], [0, 0, -1]], dtype=np.float64)

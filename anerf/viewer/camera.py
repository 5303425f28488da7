"""Between the browser's camera and poses in the scene.

viser speaks quaternions (w, x, y, z) with OpenCV axes (right, down, forward), here in the learning frame, so
that a city block fills a few units; renderers want camera-to-world poses in ENU metres with OpenGL axes.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.geometry.boxes import Aabb
from anerf.geometry.rays import look_at
from anerf.geometry.rotations import quaternion_of, rotation_of

_FLIP = np.array([1.0, -1.0, -1.0])
_OBLIQUE_DEG = 40.0


@dataclass(frozen=True)
class ViewFrame:
    """The learning frame: `(enu - origin) / scale`, `origin` in ENU metres, `scale` metres per unit."""

    origin: tuple[float, float, float]
    scale: float

    def to_enu(
        self, wxyz: Float[np.ndarray, "4"], position: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "3 4"]:
        """The browser's camera as a pose in ENU metres, OpenGL axes."""
        rotation = rotation_of(wxyz) * _FLIP
        return np.column_stack((rotation, np.asarray(position) * self.scale + np.array(self.origin)))

    def from_enu(
        self, c2w: Float[np.ndarray, "3 4"]
    ) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "3"]]:
        """A pose in ENU metres as the browser's (w, x, y, z) and position."""
        return quaternion_of(c2w[:, :3] * _FLIP), self.point(c2w[:, 3])

    def point(self, enu: Float[np.ndarray, "*n 3"] | tuple[float, float, float]) -> Float[np.ndarray, "*n 3"]:
        """Positions in ENU metres as the browser's."""
        return (np.asarray(enu, np.float64) - np.array(self.origin)) / self.scale


def oblique_pose(box: Aabb, fov_y_deg: float) -> Float[np.ndarray, "3 4"]:
    """A pose from the south, 40 degrees above the horizon, that has the box's ground in view."""
    east, north, _ = box.size
    distance_m = 0.6 * math.hypot(east, north) / math.tan(math.radians(fov_y_deg) / 2)
    pitch = math.radians(_OBLIQUE_DEG)
    x, y, z = box.center
    eye = (x, y - distance_m * math.cos(pitch), z + distance_m * math.sin(pitch))
    return look_at(eye, (x, y, z))


def map_pose(box: Aabb, fov_y_deg: float) -> Float[np.ndarray, "3 4"]:
    """A pose straight above the box's middle, looking down, north at the top, the whole box in view."""
    east, north, _ = box.size
    x, y, _ = box.center
    height_m = 0.55 * max(east, north) / math.tan(math.radians(fov_y_deg) / 2)
    return look_at((x, y, box.hi[2] + height_m), (x, y, box.lo[2]))


def box_edges(box: Aabb) -> Float[np.ndarray, "12 2 3"]:
    """The twelve edges of a box as pairs of corners."""
    corners = np.array([[(box.lo, box.hi)[(i >> axis) & 1][axis] for axis in range(3)] for i in range(8)])
    pairs = [(i, i | 1 << axis) for i in range(8) for axis in range(3) if not i >> axis & 1]
    return corners[np.array(pairs)]

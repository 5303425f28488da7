"""Poses as people give them: a matrix, or a place on Earth from which another is looked at."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.geodesy import FARTHEST_M, GeodeticReference, geodetic_to_enu
from anerf.geometry.rays import look_at
from anerf.geometry.rotations import is_rotation

_SAME_PLACE_M = 1e-3
_STRAIGHT_DOWN = math.cos(math.radians(179))

Place = tuple[float, float, float]
"""WGS 84 latitude and longitude in degrees, ellipsoidal height in metres."""


def pose_from_matrix(rows: Sequence[Sequence[float]] | np.ndarray) -> Float[np.ndarray, "3 4"]:
    """Camera to world in ENU metres (OpenGL axes) from its 3 or 4 rows of 4.

    Raises:
        InputError: it is no rotation and place near the scene.
    """
    matrix = np.array(rows, np.float64)
    if matrix.shape not in ((3, 4), (4, 4)):
        shape = " x ".join(map(str, matrix.shape))
        raise InputError(f"The pose has {shape} numbers: give 3 or 4 rows of 4, camera to world.")
    if len(matrix) == 4 and not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise InputError(f"The pose's last row is {matrix[3].tolist()} and must be 0, 0, 0, 1.")
    if not is_rotation(matrix[:3, :3]):
        raise InputError(
            "The first three columns of the pose are not a rotation: give unit, orthogonal, right-handed "
            "axes (right, up, back), without scale."
        )
    return _within_reach(matrix[:3])


def pose_looking_at(
    eye: Place, target: Place, reference: GeodeticReference, heading_deg: float | None = None
) -> Float[np.ndarray, "3 4"]:
    """Camera to world in ENU metres about `reference`, upright; straight down has north at the top.

    Args:
        eye: Where the camera stands.
        target: Where it looks.
        reference: Of the scene.
        heading_deg: What is at the top of a view straight down instead, clockwise from north.

    Raises:
        InputError: eye and target are one place, or far from the scene, or it has a heading and does not
            look straight down.
    """
    eye_m, target_m = geodetic_to_enu(np.array([eye, target]), reference)
    distance_m = np.linalg.norm(target_m - eye_m)
    if distance_m < _SAME_PLACE_M:
        raise InputError("The camera and what it looks at are the same place: move one of them.")
    if heading_deg is None:
        return _within_reach(look_at(eye_m, target_m))
    if (target_m - eye_m)[2] / distance_m > _STRAIGHT_DOWN:
        raise InputError(
            "heading_deg says what is at the top of a view straight down, and this view is not: "
            "leave it out, or put the target below the camera."
        )
    heading = math.radians(heading_deg)
    return _within_reach(look_at(eye_m, target_m, (math.sin(heading), math.cos(heading), 0.0)))


def _within_reach(pose: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
    distance_m = float(np.linalg.norm(pose[:, 3]))
    if not distance_m <= FARTHEST_M:
        raise InputError(
            f"The camera is {distance_m / 1000:.0f} km from the scene: give a place near it, "
            "see its box in scene.json or GET /scenes."
        )
    return pose

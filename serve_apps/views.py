"""From a request to a camera in the scene's ENU frame."""

import math

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, geodetic_to_enu
from anerf.geometry.rays import look_at
from serve_apps.requests import MAX_DISTANCE_M, GeodeticPoint, LookAt, View

DEFAULT_FOV_Y_DEG = 60.0
_STRAIGHT_DOWN = math.cos(math.radians(179))


def camera_of(request: View) -> Camera:
    """The lens that the request describes, at the size that it wants."""
    lens = request.intrinsics
    if lens is None:
        fov_y_deg = DEFAULT_FOV_Y_DEG if request.fov_y_deg is None else request.fov_y_deg
        return Camera.from_fov(request.width, request.height, fov_y_deg)
    return Camera("PINHOLE", request.width, request.height, (lens.fx, lens.fy, lens.cx, lens.cy))


def pose_of(request: View, reference: GeodeticReference) -> Float[np.ndarray, "3 4"]:
    """Camera to world in ENU metres about `reference`, OpenGL axes.

    Raises:
        InputError: the matrix is no rotation and place, or the camera stands where it looks.
    """
    if request.look_at is not None:
        return _pose_looking_at(request.look_at, reference)
    matrix = np.array(request.c2w, np.float64)
    if len(matrix) == 4 and not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise InputError(f"The last row of c2w is {matrix[3].tolist()} and must be 0, 0, 0, 1.")
    pose = matrix[:3]
    rotation = pose[:, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        is_rotation = np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
    if not is_rotation:
        raise InputError(
            "The first three columns of c2w are not a rotation: give unit, orthogonal, right-handed axes "
            "(right, up, back), without scale."
        )
    return _within_reach(pose)


def _pose_looking_at(view: LookAt, reference: GeodeticReference) -> Float[np.ndarray, "3 4"]:
    eye, target = (geodetic_to_enu(np.array([_row(p)]), reference)[0] for p in (view.eye, view.target))
    if np.linalg.norm(target - eye) < 1e-3:
        raise InputError("look_at.eye and look_at.target are the same place: move one of them.")
    if view.heading_deg is None:
        return _within_reach(look_at(eye, target))
    if (target - eye)[2] / np.linalg.norm(target - eye) > _STRAIGHT_DOWN:
        raise InputError(
            "look_at.heading_deg says what is at the top of a view straight down, and this view is not: "
            "leave it out, or put the target below the eye."
        )
    heading = math.radians(view.heading_deg)
    return _within_reach(look_at(eye, target, (math.sin(heading), math.cos(heading), 0.0)))


def _within_reach(pose: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
    distance_m = float(np.linalg.norm(pose[:, 3]))
    if not distance_m <= MAX_DISTANCE_M:
        raise InputError(
            f"The camera is {distance_m / 1000:.0f} km from the scene: give a place near it, see GET /scenes."
        )
    return pose


def _row(point: GeodeticPoint) -> tuple[float, float, float]:
    return point.latitude_deg, point.longitude_deg, point.height_m

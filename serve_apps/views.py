"""From a request to a camera in the scene's ENU frame."""

import numpy as np
from jaxtyping import Float

from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.geometry.viewpoints import Place, pose_from_matrix, pose_looking_at
from serve_apps.requests import GeodeticPoint, View

DEFAULT_FOV_Y_DEG = 60.0


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
    view = request.look_at
    if view is None:
        return pose_from_matrix(np.array(request.c2w, np.float64))
    return pose_looking_at(_place(view.eye), _place(view.target), reference, view.heading_deg)


def _place(point: GeodeticPoint) -> Place:
    return point.latitude_deg, point.longitude_deg, point.height_m

"""Camera paths over any scene, from its box alone: five, with the names of the older system."""

import math
from typing import Literal, get_args

import numpy as np

from anerf.geometry.boxes import Aabb
from anerf.geometry.camera_path import CameraPath
from anerf.geometry.rays import look_at

CannedPath = Literal["spiral_in", "turntable", "east_west", "north_south", "full_coverage"]
CANNED_PATHS: tuple[str, ...] = get_args(CannedPath)

_KEYS_A_TURN = 24
_SPIRAL_TURNS = 2
_TURN_RADIUS = 0.6  # of the box's diagonal
_SPIRAL_END = 0.25  # of the radius that it begins with
_TURN_DOWN_DEG = (
    35.0  # at least so steeply a turn looks at the middle: what is seen flatly was rarely photographed
)
_FLIGHT_DOWN_DEG, _SWEEP_DOWN_DEG = 50.0, 65.0
_ROW_OVERLAP = 0.2
_INSET = 0.12  # of the way across: at the borders half of a picture would be empty
_MOST_ROWS = 12


def canned_path(
    name: CannedPath, box: Aabb, flight_height_m: float, *, seconds: float = 12.0, fov_y_deg: float = 50.0
) -> CameraPath:
    """A path over the ground of a scene.

    Args:
        name: `turntable` and `spiral_in` turn about the middle; `east_west` and `north_south` fly over it,
            from the first to the second; `full_coverage` sweeps the box in rows, north at the top.
        box: The scene's, ENU metres.
        flight_height_m: ENU height from which the photographs were taken, where pictures are best.
        seconds: How long it takes.
        fov_y_deg: Field of view from top to bottom.
    """
    height_m = max(flight_height_m, box.hi[2] + 1.0)
    match name:
        case "turntable":
            poses = _turns(box, height_m, 1, 1.0)
        case "spiral_in":
            poses = _turns(box, height_m, _SPIRAL_TURNS, _SPIRAL_END)
        case "east_west":
            poses = _flight(box, height_m, axis=0)
        case "north_south":
            poses = _flight(box, height_m, axis=1)
        case "full_coverage":
            poses = _sweep(box, height_m, fov_y_deg)
    return CameraPath.at_even_speed(poses, seconds, fov_y_deg)


def _turns(box: Aabb, height_m: float, n_turns: int, end: float) -> list[np.ndarray]:
    """About the middle of the ground, from the south anticlockwise, the radius falling to a share `end`."""
    x, y, _ = box.center
    ground_m = box.lo[2]
    radius_m = _TURN_RADIUS * math.hypot(box.size[0], box.size[1])
    slope = math.tan(math.radians(_TURN_DOWN_DEG))
    poses = []
    for i in range(n_turns * _KEYS_A_TURN + 1):
        done = i / (n_turns * _KEYS_A_TURN)
        r = radius_m * (1 - done + done * end)
        up_m = max(height_m - ground_m, r * slope)
        angle = math.tau * n_turns * done
        eye = (x + r * math.sin(angle), y - r * math.cos(angle), ground_m + up_m)
        poses.append(look_at(eye, (x, y, ground_m)))
    return poses


def _flight(box: Aabb, height_m: float, axis: int) -> list[np.ndarray]:
    """Along an axis towards its lower end, looking ahead at the ground, from near one border on."""
    inset_m = _INSET * box.size[axis]
    targets = np.linspace(box.hi[axis] - inset_m, box.lo[axis] + inset_m, 5)
    back_m = (height_m - box.lo[2]) / math.tan(math.radians(_FLIGHT_DOWN_DEG))
    poses = []
    for along in targets:
        target = np.array([box.center[0], box.center[1], box.lo[2]])
        target[axis] = along
        eye = target.copy()
        eye[axis] += back_m
        eye[2] = height_m
        poses.append(look_at(eye, target))
    return poses


def _sweep(box: Aabb, height_m: float, fov_y_deg: float) -> list[np.ndarray]:
    """Rows from west to east and back, from the south to the north, always looking north and down."""
    up_m = height_m - box.lo[2]
    seen_m = 2 * up_m * math.tan(math.radians(fov_y_deg) / 2) * (1 - _ROW_OVERLAP)
    east_m, north_m = box.size[0], box.size[1]
    n_rows = min(max(2, math.ceil(north_m / seen_m)), _MOST_ROWS)
    row_m = north_m / n_rows
    inset_m = min(seen_m / 2, east_m / 4)
    west, east = box.lo[0] + inset_m, box.hi[0] - inset_m
    # Key frames near the ends of rows keep the curve from one row to the next narrow.
    turn_m = min(row_m, (east - west) / 3)
    eastings = (west, west + turn_m, east - turn_m, east)
    back_m = up_m / math.tan(math.radians(_SWEEP_DOWN_DEG))
    poses = []
    for row in range(n_rows):
        y = box.lo[1] + (row + 0.5) * row_m
        for x in eastings if row % 2 == 0 else eastings[::-1]:
            poses.append(look_at((x, y - back_m, height_m), (x, y, box.lo[2])))
    return poses

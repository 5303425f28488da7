"""Moves one browser's camera, and says where it is."""

import math
import threading
import time

import numpy as np
import viser
from jaxtyping import Float

from anerf.viewer.camera import ViewFrame
from anerf.viewer.navigation import Stance

FLIGHT_S = 0.6
_STEPS = 12


class CameraMan:
    """A client's camera in ENU metres. A new move takes over from one that is under way."""

    def __init__(self, handle: viser.ClientHandle, frame: ViewFrame) -> None:
        self._handle, self._frame = handle, frame
        self._move = 0
        self._lock = threading.Lock()

    @property
    def c2w(self) -> Float[np.ndarray, "3 4"]:
        """The pose, OpenGL axes."""
        camera = self._handle.camera
        return self._frame.to_enu(camera.wxyz, camera.position)

    @property
    def fov_y_deg(self) -> float:
        """From top to bottom."""
        return math.degrees(self._handle.camera.fov)

    @property
    def least_fov_deg(self) -> float:
        """From top to bottom or from side to side, whatever is less."""
        half = math.tan(math.radians(self.fov_y_deg) / 2)
        return math.degrees(2 * math.atan(half * min(1.0, self.aspect)))

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self._handle.camera.aspect

    @property
    def stance(self) -> Stance:
        """The camera as an upright one."""
        camera = self._handle.camera
        return Stance(self._enu(camera.position), self._enu(camera.look_at))

    def fly(self, to: Stance) -> None:
        """Fly there within half a second or so, and stand upright."""
        move = self._begin()
        start = self.stance
        for i in range(1, _STEPS + 1):
            share = 0.5 - 0.5 * math.cos(math.pi * i / _STEPS)
            eye = start.eye + share * (to.eye - start.eye)
            target = start.target + share * (to.target - start.target)
            if move != self._move or np.linalg.norm(target - eye) == 0:
                return
            self.stand(Stance(eye, target))
            time.sleep(FLIGHT_S / _STEPS)
        self.stand(to)

    def zoom(self, fov_y_deg: float) -> None:
        """Another field of view, from top to bottom."""
        self._handle.camera.fov = math.radians(fov_y_deg)

    def take_pose(
        self, c2w: Float[np.ndarray, "3 4"], distance_m: float, fov_y_deg: float | None = None
    ) -> None:
        """Be in a pose at once, rolled as it is, turning about a point `distance_m` ahead."""
        self._begin()
        self.hold(c2w, distance_m, fov_y_deg)

    def hold(self, c2w: Float[np.ndarray, "3 4"], distance_m: float, fov_y_deg: float | None = None) -> None:
        """As `take_pose`, as a step of a move that has begun."""
        eye, back, up = c2w[:, 3], c2w[:, 2], c2w[:, 1]
        camera = self._handle.camera
        with self._handle.atomic():
            camera.up_direction = up
            camera.position = self._frame.point(eye)
            camera.look_at = self._frame.point(eye - back * distance_m)
            if fov_y_deg is not None:
                camera.fov = math.radians(fov_y_deg)

    def _begin(self) -> int:
        with self._lock:
            self._move += 1
            return self._move

    def stand(self, stance: Stance) -> None:
        """Be there at once, upright."""
        camera = self._handle.camera
        with self._handle.atomic():
            camera.up_direction = (0.0, 0.0, 1.0)
            camera.position = self._frame.point(stance.eye)
            camera.look_at = self._frame.point(stance.target)

    def _enu(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        return np.asarray(point) * self._frame.scale + np.array(self._frame.origin)

"""Where a camera stands and what it looks at, and the moves that people ask for; ENU metres."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference, geodetic_to_enu
from anerf.viewer.camera import map_pose, oblique_pose

# An upright camera that looks down has north at the top if it looks a hair to the north.
_HAIR = 1e-3
_FARTHEST_M = 20_000.0


@dataclass(frozen=True, eq=False)
class Stance:
    """An upright camera: its place and the point that it looks at and turns about."""

    eye: Float[np.ndarray, "3"]
    target: Float[np.ndarray, "3"]

    @property
    def distance_m(self) -> float:
        """From the camera to what it looks at."""
        return float(np.linalg.norm(self.target - self.eye))

    def at_center(self, box: Aabb) -> "Stance":
        """From the same place, looking at the middle of a box."""
        return Stance(self.eye, np.array(box.center))

    def north_up(self) -> "Stance":
        """Turned about its target until it looks north, as steeply as before."""
        east, north, up = self.target - self.eye
        return Stance(self.target - np.array([0.0, math.hypot(east, north), up]), self.target)._tilted()

    def straight_down(self) -> "Stance":
        """Above its target, as far from it as before, north at the top."""
        return Stance(self.target + np.array([0.0, 0.0, self.distance_m]), self.target)._tilted()

    def moved_to(self, target: Float[np.ndarray, "3"], most_m: float) -> "Stance":
        """Looking at another point in the same direction, at most `most_m` away from it."""
        direction = (self.eye - self.target) / self.distance_m
        return Stance(target + direction * min(self.distance_m, most_m), target)

    def standing_at(self, eye: Float[np.ndarray, "3"]) -> "Stance":
        """At another place, looking in the same direction."""
        return Stance(eye, eye + self.target - self.eye)

    def _tilted(self) -> "Stance":
        away = np.hypot(*(self.target - self.eye)[:2])
        hair = max(0.0, _HAIR * self.distance_m - float(away))
        return Stance(self.eye - np.array([0.0, hair, 0.0]), self.target)


def overview(box: Aabb, fov_y_deg: float) -> Stance:
    """From the south, obliquely, the ground of the box in view."""
    return Stance(oblique_pose(box, fov_y_deg)[:, 3], np.array(box.center))


def from_above(box: Aabb, fov_y_deg: float) -> Stance:
    """Straight above the box's middle, the whole box in view, north at the top."""
    eye = map_pose(box, fov_y_deg)[:, 3]
    return Stance(eye, np.array([eye[0], eye[1], box.lo[2]])).straight_down()


def parse_place(text: str, reference: GeodeticReference) -> tuple[Float[np.ndarray, "3"], bool]:
    """The place (ENU metres) that "latitude, longitude[, height]" means, and whether it gives a height.

    Without a height it is that of the reference.

    Raises:
        InputError: it is no such text, or a place more than 20 km away.
    """
    plain = text.strip().removesuffix("m")
    parts = plain.replace(",", " ").replace(";", " ").replace("\u00b0", " ").split()
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    ok = len(values) in (2, 3) and all(math.isfinite(v) for v in values) and abs(values[0]) <= 90
    if not ok or abs(values[1]) > 360:
        raise InputError(
            f"{text[:60]!r} is no place: give latitude, longitude and perhaps height, as 51.97, 7.741, 60"
        )
    height_m = values[2] if len(values) == 3 else reference.height_m
    place = geodetic_to_enu(np.array([values[0], values[1], height_m]), reference)
    if not np.linalg.norm(place) < _FARTHEST_M:
        raise InputError(
            f"{text[:60]!r} is {np.linalg.norm(place) / 1000:.0f} km away from this scene, more than"
            f" {_FARTHEST_M / 1000:.0f} km: give a place nearby"
        )
    return place, len(values) == 3

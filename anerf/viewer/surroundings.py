"""What the viewer can show of the scene that a checkpoint was learned on, if its folder is there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from anerf.checkpoint.manifest import SceneStamp
from anerf.errors import SceneError
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene, load_scene

# A browser draws so many without effort.
_MOST_POINTS = 100_000
_ONLY_BOXES = "only the experts' boxes can be shown."
# Metres on Earth: references further apart than this make another frame.
_SAME_DEG, _SAME_HEIGHT_M = 1e-8, 1e-3


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Cameras of photographs and sparse points, ENU metres; both empty where `missing` says why."""

    frames: tuple[Frame, ...]
    points_xyz: Float[np.ndarray, "p 3"]
    points_rgb: UInt8[np.ndarray, "p 3"]
    splits: tuple[str, ...] = ()
    missing: str | None = None
    scene: Scene | None = None
    """Where the photographs are."""

    @property
    def batches(self) -> tuple[str, ...]:
        """Flights that came after the survey."""
        return tuple(split for split in self.splits if split not in ("train", "val"))

    @classmethod
    def nothing(cls, why: str) -> "Surroundings":
        """Without cameras and points."""
        return cls((), np.empty((0, 3)), np.empty((0, 3), np.uint8), (), why)


def surroundings_of(stamp: SceneStamp) -> Surroundings:
    """Opens the scene that a checkpoint names; where that cannot be, the result says so."""
    try:
        scene = load_scene(stamp.root)
        xyz, rgb = scene.points()
    except (SceneError, OSError):
        return Surroundings.nothing(
            f"The scene's folder {_code(stamp.root)} is not on this machine or cannot be read: {_ONLY_BOXES}"
        )
    if not _is_same(scene.reference, stamp.reference):
        return Surroundings.nothing(
            f"The scene in {_code(stamp.root)} was prepared anew about another reference: {_ONLY_BOXES}"
        )
    step = max(1, -(-len(xyz) // _MOST_POINTS))
    return Surroundings(scene.frames, xyz[::step], rgb[::step], scene.splits(), scene=scene)


def _code(path: str) -> str:
    """A path that Markdown leaves as it is."""
    return f"`{path.replace('`', chr(39))}`"


def _is_same(reference: GeodeticReference, stamped: Any) -> bool:
    latitude_deg, longitude_deg, height_m = stamped
    return (
        abs(reference.latitude_deg - latitude_deg) < _SAME_DEG
        and abs(reference.longitude_deg - longitude_deg) < _SAME_DEG
        and abs(reference.height_m - height_m) < _SAME_HEIGHT_M
    )

"""A camera path while it is being made: key frames and the seconds between them."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.camera_path import CameraPath, KeyFrame

FOLDER = "paths"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, eq=False)
class Draft:
    """Key frames in order; `legs_s[i]` are the seconds from the key frame before to key frame i."""

    poses: tuple[Float[np.ndarray, "3 4"], ...] = ()
    fovs_y_deg: tuple[float, ...] = ()
    legs_s: tuple[float, ...] = ()

    @classmethod
    def of(cls, path: CameraPath) -> "Draft":
        """A finished path, to be worked on."""
        times = [key.time_s for key in path.keys]
        legs = (0.0, *(b - a for a, b in pairwise(times)))
        return cls(tuple(k.c2w for k in path.keys), tuple(k.fov_y_deg for k in path.keys), legs)

    def __len__(self) -> int:
        """How many key frames there are."""
        return len(self.poses)

    def added(self, c2w: Float[np.ndarray, "3 4"], fov_y_deg: float, leg_s: float) -> "Draft":
        """With one more at the end."""
        leg = leg_s if self.poses else 0.0
        return Draft((*self.poses, c2w), (*self.fovs_y_deg, fov_y_deg), (*self.legs_s, leg))

    def moved(self, at: int, c2w: Float[np.ndarray, "3 4"], fov_y_deg: float | None = None) -> "Draft":
        """With another pose at a place."""
        fov = self.fovs_y_deg[at] if fov_y_deg is None else fov_y_deg
        return replace(
            self,
            poses=(*self.poses[:at], c2w, *self.poses[at + 1 :]),
            fovs_y_deg=(*self.fovs_y_deg[:at], fov, *self.fovs_y_deg[at + 1 :]),
        )

    def timed(self, at: int, leg_s: float) -> "Draft":
        """With other seconds before a key frame; those after it come later or earlier by as much."""
        return replace(self, legs_s=(*self.legs_s[:at], leg_s, *self.legs_s[at + 1 :]))

    def without(self, at: int) -> "Draft":
        """Without a key frame; the first begins at 0."""
        legs = (*self.legs_s[:at], *self.legs_s[at + 1 :])
        return Draft(
            (*self.poses[:at], *self.poses[at + 1 :]),
            (*self.fovs_y_deg[:at], *self.fovs_y_deg[at + 1 :]),
            (0.0, *legs[1:]) if legs else (),
        )

    def path(self) -> CameraPath:
        """The path.

        Raises:
            InputError: there are fewer than two key frames.
        """
        if len(self) < 2:
            raise InputError(f"a path with {len(self)} key frames leads nowhere: add at least two views")
        times = np.cumsum(self.legs_s)
        keys = zip(times, self.poses, self.fovs_y_deg, strict=True)
        return CameraPath(tuple(KeyFrame(float(time), pose, fov) for time, pose, fov in keys))


def path_file(out: Path, name: str) -> Path:
    """Where the path of this name lies in the output folder.

    Raises:
        InputError: it cannot be a file's name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} cannot name a path: use up to 80 letters, digits, dots, dashes and underscores,"
            " beginning with a letter or digit"
        )
    return out / FOLDER / f"{name}.json"


def saved_names(out: Path) -> tuple[str, ...]:
    """Names of the paths that are there."""
    return tuple(sorted(file.stem for file in (out / FOLDER).glob("*.json") if _NAME.fullmatch(file.stem)))

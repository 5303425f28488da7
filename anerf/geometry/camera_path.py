"""Camera paths: key frames with times, and smooth poses between them.

Positions follow the Catmull-Rom spline of the key frames' times (Barry & Goldman 1988), rotations the cubic
Hermite curve of unit quaternions (Kim, Kim & Shin 1995), and the field of view is interpolated as a zoom. All
of them pass through the key frames, and their first derivatives are continuous, however unevenly the key
frames are spaced.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.rotations import is_rotation, rotation_by, rotation_vector


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A camera at a time: `c2w` in ENU metres (OpenGL axes), `fov_y_deg` from top to bottom."""

    time_s: float
    c2w: Float[np.ndarray, "3 4"]
    fov_y_deg: float


@dataclass(frozen=True, eq=False)
class CameraPath:
    """At least one key frame, in the order of their times."""

    keys: tuple[KeyFrame, ...]

    def __post_init__(self) -> None:
        """Refuses what is no path."""
        if not self.keys:
            raise InputError("a camera path without key frames leads nowhere: give at least one")
        for i, key in enumerate(self.keys):
            if not (math.isfinite(key.time_s) and 0 < key.fov_y_deg < 180):
                raise InputError(
                    f"key frame {i} has time {key.time_s} s and a field of view of {key.fov_y_deg} degrees:"
                    " give a finite time and an angle between 0 and 180"
                )
            if not (is_rotation(key.c2w[:, :3]) and np.isfinite(key.c2w).all()):
                raise InputError(
                    f"key frame {i}: the first three columns of c2w are not a rotation; give unit,"
                    " orthogonal, right-handed axes (right, up, back), without scale"
                )
        for i, (one, next_one) in enumerate(pairwise(self.keys)):
            if not one.time_s < next_one.time_s:
                raise InputError(
                    f"key frames {i} and {i + 1} have times {one.time_s} and {next_one.time_s} s:"
                    " times must rise from key frame to key frame"
                )

    @property
    def start_s(self) -> float:
        """Time of the first key frame."""
        return self.keys[0].time_s

    @property
    def duration_s(self) -> float:
        """From the first key frame to the last."""
        return self.keys[-1].time_s - self.start_s

    def at(self, time_s: float) -> KeyFrame:
        """The camera at a time; before the first and after the last key frame it stands still."""
        times = self._times
        time_s = float(np.clip(time_s, times[0], times[-1]))
        if len(times) == 1:
            return self.keys[0]
        i = int(np.clip(np.searchsorted(times, time_s, side="right") - 1, 0, len(times) - 2))
        h = times[i + 1] - times[i]
        u = (time_s - times[i]) / h
        position, zoom = (_hermite(values, slopes, i, u, h) for values, slopes in self._curves)
        rotation = self._rotation(i, u, h)
        fov_y_deg = math.degrees(2 * math.atan(math.exp(zoom[0])))
        return KeyFrame(time_s, np.column_stack((rotation, position)), fov_y_deg)

    def frames(self, fps: float, seconds: float | None = None) -> list[KeyFrame]:
        """Evenly spaced cameras of a film of `seconds` (None: as long as the path), both ends included.

        Their times are those of the path.
        """
        n = max(1, round((self.duration_s if seconds is None else seconds) * fps))
        return [self.at(self.start_s + self.duration_s * i / max(n - 1, 1)) for i in range(n)]

    @classmethod
    def at_even_speed(cls, poses: Sequence[np.ndarray], seconds: float, fov_y_deg: float) -> Self:
        """Through `poses` (each 3 x 4, at different places), with times in proportion to distances."""
        steps_m = [float(np.linalg.norm(b[:, 3] - a[:, 3])) for a, b in pairwise(poses)]
        way_m = np.concatenate(([0.0], np.cumsum(steps_m)))
        times_s = seconds * way_m / max(way_m[-1], 1e-9)
        return cls(tuple(KeyFrame(float(t), p, fov_y_deg) for t, p in zip(times_s, poses, strict=True)))

    @cached_property
    def _times(self) -> Float[np.ndarray, " k"]:
        return np.array([key.time_s for key in self.keys])

    @cached_property
    def _curves(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Values at the key frames and their slopes, of positions and of the zoom."""
        positions = np.array([key.c2w[:, 3] for key in self.keys])
        zooms = np.log([[math.tan(math.radians(key.fov_y_deg) / 2)] for key in self.keys])
        h = np.diff(self._times)
        return tuple((v, _slopes(h, np.diff(v, axis=0) / h[:, None])) for v in (positions, zooms))

    @cached_property
    def _turning(self) -> Float[np.ndarray, "k 3"]:
        """Angular velocities at the key frames, radians a second about the camera's own axes."""
        h = np.diff(self._times)
        turns = [rotation_vector(a.c2w[:, :3].T @ b.c2w[:, :3]) for a, b in pairwise(self.keys)]
        return _slopes(h, np.array(turns) / h[:, None])

    def _rotation(self, i: int, u: float, h: float) -> Float[np.ndarray, "3 3"]:
        start, end = (self.keys[j].c2w[:, :3] for j in (i, i + 1))
        first, last = (self._turning[j] * h / 3 for j in (i, i + 1))
        middle = rotation_vector(rotation_by(-first) @ start.T @ end @ rotation_by(-last))
        # Cumulative Bernstein polynomials of degree 3.
        turned = rotation_by((1 - (1 - u) ** 3) * first) @ rotation_by((3 - 2 * u) * u * u * middle)
        return start @ turned @ rotation_by(u**3 * last)


def _slopes(h: Float[np.ndarray, " s"], rates: Float[np.ndarray, "s d"]) -> Float[np.ndarray, "k d"]:
    """At each key frame, the slope of the parabola through it and its neighbours."""
    before, after = h[:-1, None], h[1:, None]
    return np.concatenate(
        (rates[:1], (after * rates[:-1] + before * rates[1:]) / (before + after), rates[-1:])
    )


def _hermite(values: np.ndarray, slopes: np.ndarray, i: int, u: float, h: float) -> np.ndarray:
    a, b = values[i], values[i + 1]
    bulge = (1 - u) * h * slopes[i] - u * h * slopes[i + 1] - (1 - 2 * u) * (b - a)
    return a + u * (b - a) + u * (1 - u) * bulge

"""Where the drone stands for each photograph: serpentines of nadir and oblique looks over the block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
from jaxtyping import Float

from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.scene.made.event import Event

FOV_X_DEG = 60.0
_HEADINGS_DEG = (0.0, 90.0, 180.0, 270.0)  # clockwise from north
_NADIR_HALF_M, _OBLIQUE_HALF_M = 46.0, 40.0
_SECONDS_APART = 4
_ZONE = timezone(timedelta(hours=2))
_START = {
    "before": datetime(2025, 6, 12, 11, 5, 0, tzinfo=_ZONE),
    "after": datetime(2025, 6, 14, 11, 2, 0, tzinfo=_ZONE),
}


@dataclass(frozen=True, eq=False)
class Station:
    """One photograph to take: file stem, pose (OpenGL axes, ENU metres, float64) and time."""

    stem: str
    c2w: Float[np.ndarray, "3 4"]
    captured_at: datetime


def survey_camera(width: int, height: int) -> Camera:
    """The drone's camera: a pinhole with square pixels that sees 60 degrees across."""
    focal_px = 0.5 * width / math.tan(math.radians(FOV_X_DEG) / 2)
    return Camera("PINHOLE", width, height, (focal_px, focal_px, width / 2, height / 2))


def serpentine(n_places: int, half_m: float) -> list[tuple[float, float]]:
    """`n_places` over the square of +-`half_m`, row by row, every second row flown backwards."""
    n_rows = max(1, round(math.sqrt(n_places)))
    places: list[tuple[float, float]] = []
    for row in range(n_rows):
        n_here = (row + 1) * n_places // n_rows - row * n_places // n_rows
        y = half_m * ((2 * row + 1) / n_rows - 1)
        xs = [half_m * ((2 * column + 1) / n_here - 1) for column in range(n_here)]
        places += [(x, y) for x in (xs if row % 2 == 0 else xs[::-1])]
    return places


def _look(
    rng: np.random.Generator, aim: tuple[float, float], heading_deg: float, down_deg: float
) -> Float[np.ndarray, "3 4"]:
    """A pose 60 to 70 m up that looks at `aim` on the ground, a little unsteady."""
    heading = math.radians(heading_deg + rng.uniform(-6, 6))
    down = math.radians(down_deg + rng.uniform(-2, 2))
    height = rng.uniform(60, 70)
    target = (aim[0] + rng.uniform(-1.5, 1.5), aim[1] + rng.uniform(-1.5, 1.5), 2.0)
    back = (height - target[2]) / math.tan(down)
    eye = (target[0] - back * math.sin(heading), target[1] - back * math.cos(heading), height)
    return look_at(eye, target)


def before_flight(seed: int, n_pictures: int) -> tuple[Station, ...]:
    """A third looks straight down, the rest obliquely in four headings."""
    rng = np.random.default_rng([seed, 3])
    n_nadir = round(n_pictures * 0.31)
    poses = [
        _look(rng, aim, 0.0 if index % 2 else 180.0, 80.0)
        for index, aim in enumerate(serpentine(n_nadir, _NADIR_HALF_M))
    ]
    n_oblique = n_pictures - n_nadir
    for turn, heading in enumerate(_HEADINGS_DEG):
        n_here = (turn + 1) * n_oblique // 4 - turn * n_oblique // 4
        for aim in serpentine(n_here, _OBLIQUE_HALF_M):
            poses.append(_look(rng, aim, heading, rng.uniform(45, 55)))
    return _stations("before", poses)


def after_flight(seed: int, n_pictures: int, event: Event) -> tuple[Station, ...]:
    """Three quarters circle over what happened, in turn; the rest looks over the whole block."""
    rng = np.random.default_rng([seed, 4])
    n_around = round(n_pictures * 0.75)
    looks = [(80.0, 0.0)] + [(50.0, heading) for heading in _HEADINGS_DEG] + [(80.0, 90.0)]
    poses = []
    for index in range(n_around):
        visit, which = divmod(index, len(event.footprints))
        x, y = event.footprints[which].middle
        down, heading = looks[(visit + 2 * which) % len(looks)]
        aim = (x + rng.uniform(-7, 7), y + rng.uniform(-7, 7))
        poses.append(_look(rng, aim, heading, down))
    for index, aim in enumerate(serpentine(n_pictures - n_around, _OBLIQUE_HALF_M)):
        poses.append(_look(rng, aim, _HEADINGS_DEG[index % 4] + 45.0, 50.0))
    return _stations("after", poses)


def _stations(flight: str, poses: Sequence[Float[np.ndarray, "3 4"]]) -> tuple[Station, ...]:
    start = _START[flight]
    return tuple(
        Station(f"{flight}_{number:04d}", pose, start + timedelta(seconds=_SECONDS_APART * number))
        for number, pose in enumerate(poses, start=1)
    )

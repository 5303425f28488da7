"""Turns a survey without any place on Earth upright, along the directions that people build in.

Up is the normal of the plane through the sparse points. Which way is east cannot be known; the axes are laid
along the most common direction of horizontal edges, because walls, roofs and streets of a quarter mostly
share one (the Manhattan world of Coughlan and Yuille, ICCV 1999). An edge in a picture and the camera span a
plane, and a horizontal edge runs where that plane is level; this needs no vanishing points and holds for
oblique views.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.alignment import Similarity, cauchy_weights
from anerf.geometry.cameras import pixel_directions
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.photographs import UNREADABLE
from anerf.scene.survey import Photograph, Survey
from anerf.scene.world import World

_FEWEST_POINTS = 20
_PHOTOGRAPHS = 16
_WIDTH_PX = 512
_BINS_PER_DEG = 4
_SMOOTH_DEG = 1.5
# Of the pixels, those with the steepest brightness.
_EDGE_SHARE = 0.05


@dataclass(frozen=True)
class Manhattan:
    """How long a unit of the survey's frame is, which no picture tells."""

    metres_per_unit: float = 1.0


def manhattan_world(survey: Survey, place: GeodeticReference, manhattan: Manhattan) -> World:
    """The survey upright and along its walls, the middle of its ground at `place`.

    InputError without sparse points, or where the length of a unit cannot be.
    """
    if not (np.isfinite(manhattan.metres_per_unit) and manhattan.metres_per_unit > 0):
        raise InputError(
            f"a unit of {manhattan.metres_per_unit} m cannot be; give --metres-per-unit a length above 0"
        )
    if survey.model is None or len(survey.model.points_xyz) < _FEWEST_POINTS:
        raise InputError(
            f"{survey.root} has too few sparse points to tell which way is up ({_FEWEST_POINTS} are "
            "needed); bring the reconstruction's points, or GPS for at least 3 photographs"
        )
    points = survey.model.points_xyz
    cameras = np.stack([photograph.c2w[:, 3] for photograph in survey.photographs])
    upright = _upright(points, cameras)
    turn = _turn(wall_direction_deg(survey.photographs, upright)) @ upright
    middle = manhattan.metres_per_unit * np.median(points @ turn.T, axis=0)
    how = (
        "poses in a frame of their own, turned upright by the ground and along its walls, "
        f"{manhattan.metres_per_unit:g} m a unit; north is not known"
    )
    return World("unreferenced", how, place, Similarity(manhattan.metres_per_unit, turn, -middle))


def _upright(points: Float[np.ndarray, "p 3"], cameras: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation that makes the points' plane level, with the cameras above it."""
    weights: np.ndarray = np.ones(len(points))
    middle: np.ndarray = np.median(points, axis=0)
    axes = np.eye(3)
    for _ in range(30):
        flat = points - middle
        _, axes = np.linalg.eigh((flat * weights[:, None]).T @ flat)
        off = flat @ axes[:, 0]
        middle = middle + axes[:, 0] * np.median(off)
        off = np.abs(off - np.median(off))
        weights = cauchy_weights(off, max(1.4826 * float(np.median(off)), 1e-12))
    up = axes[:, 0] * (1.0 if np.median((cameras - middle) @ axes[:, 0]) > 0 else -1.0)
    east = axes[:, 2]
    return np.stack((east, np.cross(up, east), up))


def wall_direction_deg(photographs: tuple[Photograph, ...], upright: Float[np.ndarray, "3 3"]) -> float:
    """The most common direction of horizontal edges, 0 to 90 degrees counter-clockwise from the first
    axis."""
    histogram = np.zeros(90 * _BINS_PER_DEG)
    for photograph in photographs[:: -(-len(photographs) // _PHOTOGRAPHS)]:
        edge, weight = _edges(photograph, upright)
        place = np.degrees(np.arctan2(edge[:, 1], edge[:, 0])) % 90 * _BINS_PER_DEG
        histogram += np.bincount(place.astype(int) % len(histogram), weight, len(histogram))
    bins = np.arange(len(histogram))
    circle = np.minimum(bins, len(bins) - bins)
    kernel = np.exp(-0.5 * (circle / (_SMOOTH_DEG * _BINS_PER_DEG)) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(histogram) * np.fft.rfft(kernel), len(bins))
    return float((smooth.argmax() + 0.5) / _BINS_PER_DEG)


def _edges(
    photograph: Photograph, upright: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"]]:
    """Level directions of a photograph's edges as if they were horizontal, and how much each counts."""
    camera = photograph.camera.scaled(min(1.0, _WIDTH_PX / photograph.camera.width))
    try:
        with Image.open(photograph.source) as picture:
            grey = np.asarray(picture.convert("L").resize((camera.width, camera.height)), np.float64)
    except UNREADABLE as error:
        raise InputError(
            f"photograph {photograph.source} cannot be decoded ({error}); remove it from the reconstruction"
        ) from None
    dy, dx = (np.asarray(slope) for slope in np.gradient(grey))
    steep = np.hypot(dx, dy)
    row, column = np.nonzero(steep > max(np.quantile(steep, 1 - _EDGE_SHARE), 1.0))
    here = np.stack((column, row), axis=1) + 0.5
    along = np.stack((-dy[row, column], dx[row, column]), axis=1) / steep[row, column, None]
    ends = [pixel_directions(camera, torch.from_numpy(here + side * along)).numpy() for side in (-1.0, 1.0)]
    spanned: np.ndarray = np.cross(ends[0], ends[1])
    normal = spanned @ photograph.c2w[:, :3].T @ upright.T
    # The level line in the plane of that normal; a plane that is level itself has none.
    level = np.stack((-normal[:, 1], normal[:, 0]), axis=1)
    length = np.linalg.norm(level, axis=1)
    some = length > 0.1 * np.linalg.norm(normal, axis=1)
    return level[some], steep[row, column][some]


def _turn(angle_deg: float) -> Float[np.ndarray, "3 3"]:
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])

"""Between which heights the scene's surfaces lie, cell by cell on the ground.

Rays are sampled only between these bounds. They come from the sparse points: the lowest and the highest
around each cell, with a margin. A cell with few points asks an ever wider neighbourhood, so that a roof
without points is not cut away by the street beside it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.geometry.boxes import Aabb

# Fewer points than this do not tell the heights of a neighbourhood.
_ENOUGH_POINTS = 8


@dataclass(frozen=True, eq=False)
class HeightBounds:
    """Lowest and highest ENU height of surfaces in each cell of a grid over the box's ground plan."""

    aabb: Aabb
    low: Float[np.ndarray, "ny nx"]
    high: Float[np.ndarray, "ny nx"]

    def at(self, xy: Float[np.ndarray, "*n 2"]) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
        """Bounds (ENU metres) above ground positions; positions outside take the nearest cell's."""
        column, row = _cells(np.asarray(xy), self.aabb, self.low.shape)
        return self.low[row, column], self.high[row, column]


def height_bounds(
    points: Float[np.ndarray, "p 3"], aabb: Aabb, cell_m: float = 20.0, margin_m: float = 6.0
) -> HeightBounds:
    """Bounds from sparse points (ENU metres) on cells of about `cell_m`; never beyond the box.

    Without enough points for any cell the bounds are the box's own.
    """
    shape = max(1, round(aabb.size[1] / cell_m)), max(1, round(aabb.size[0] / cell_m))
    inside = points[aabb.contains(points)] if len(points) else np.empty((0, 3))
    low, high = np.full(shape, aabb.lo[2]), np.full(shape, aabb.hi[2])
    if len(inside) < _ENOUGH_POINTS:
        return HeightBounds(aabb, low, high)
    column, row = _cells(inside[:, :2], aabb, shape)
    count = np.zeros(shape)
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.add.at(count, (row, column), 1)
    np.minimum.at(lowest, (row, column), inside[:, 2])
    np.maximum.at(highest, (row, column), inside[:, 2])

    todo = np.ones(shape, dtype=bool)
    radius, step = 1, 1
    while todo.any():
        # The window grows to `radius` by looking `step` further: 1, then doubling.
        lowest, highest = _spread(lowest, step, np.minimum), _spread(highest, step, np.maximum)
        ready = todo & (_window_sum(count, radius) >= _ENOUGH_POINTS)
        low[ready] = np.maximum(lowest[ready] - margin_m, aabb.lo[2])
        high[ready] = np.minimum(highest[ready] + margin_m, aabb.hi[2])
        todo &= ~ready
        step, radius = radius, 2 * radius
    return HeightBounds(aabb, low, high)


def _cells(
    xy: Float[np.ndarray, "*n 2"], aabb: Aabb, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    sides = np.maximum(aabb.size[:2], 1e-9)
    place = (xy - np.array(aabb.lo[:2])) / sides * (shape[1], shape[0])
    column = np.clip(place[..., 0].astype(np.int64), 0, shape[1] - 1)
    row = np.clip(place[..., 1].astype(np.int64), 0, shape[0] - 1)
    return column, row


def _spread(values: np.ndarray, step: int, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each cell and its neighbours `step` away, along both axes; the rim repeats itself."""
    for axis in (0, 1):
        n = values.shape[axis]
        before = values.take(np.maximum(np.arange(n) - step, 0), axis=axis)
        after = values.take(np.minimum(np.arange(n) + step, n - 1), axis=axis)
        values = extreme(values, extreme(before, after))
    return values


def _window_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sum over the square window of `radius` cells around each cell, cut off at the rim."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1])
    top, bottom = np.maximum(rows - radius, 0), np.minimum(rows + radius + 1, values.shape[0])
    left, right = np.maximum(columns - radius, 0), np.minimum(columns + radius + 1, values.shape[1])
    return (
        total[np.ix_(bottom, right)]
        - total[np.ix_(top, right)]
        - total[np.ix_(bottom, left)]
        + total[np.ix_(top, left)]
    )

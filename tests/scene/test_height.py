"""Height bounds by hand, and against the definition by brute force."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb
from anerf.scene.height import height_bounds

BOX = Aabb((0.0, 0.0, -10.0), (100.0, 60.0, 90.0))


def _cloud(center: tuple[float, float], z: float, n: int = 8) -> np.ndarray:
    return np.array([[*center, z]] * n)


def test_bounds_follow_the_points_around_a_cell():
    street, tower = _cloud((5.0, 5.0), 0.0), _cloud((95.0, 55.0), 50.0)
    bounds = height_bounds(np.concatenate((street, tower)), BOX, cell_m=20.0, margin_m=6.0)
    assert bounds.low.shape == (3, 5)
    low, high = bounds.at(np.array([[5.0, 5.0], [95.0, 55.0], [25.0, 25.0], [-40.0, 5.0]]))
    assert low.tolist() == [-6.0, 44.0, -6.0, -6.0]  # the third is a neighbour, the last lies outside
    assert high.tolist() == [6.0, 56.0, 6.0, 6.0]


def test_cell_without_points_asks_further_until_it_knows():
    bounds = height_bounds(_cloud((5.0, 5.0), 0.0), BOX, cell_m=10.0, margin_m=1.0)
    assert (bounds.low == -1).all()
    assert (bounds.high == 1).all()


def test_bounds_stay_in_the_box_and_ignore_points_outside():
    points = np.concatenate((_cloud((5.0, 5.0), 88.0), _cloud((5.0, 5.0), -400.0)))
    low, high = height_bounds(points, BOX).at(np.array([[5.0, 5.0]]))
    assert (low[0], high[0]) == (82.0, 90.0)


def test_without_points_the_box_decides():
    low, high = height_bounds(np.empty((0, 3)), BOX).at(np.array([[1.0, 1.0]]))
    assert (low[0], high[0]) == (-10.0, 90.0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 60))
def test_against_brute_force(seed, n):
    points = np.random.default_rng(seed).uniform(BOX.lo, BOX.hi, (n, 3))
    bounds = height_bounds(points, BOX, cell_m=10.0, margin_m=2.0)
    column, row = (points[:, 0] // 10).astype(int), (points[:, 1] // 10).astype(int)
    for y, x in np.ndindex(bounds.low.shape):
        for radius in (1, 2, 4, 8, 16):
            near = (abs(column - x) <= radius) & (abs(row - y) <= radius)
            if near.sum() >= 8:
                break
        assert bounds.low[y, x] == max(points[near, 2].min() - 2, -10)
        assert bounds.high[y, x] == min(points[near, 2].max() + 2, 90)

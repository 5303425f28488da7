"""Which photographs are compared."""

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.scene.sfm.pairs import pairs_among, pairs_between
from anerf.scene.sfm.reconstruct import ReconstructOptions


def _line(n: int) -> np.ndarray:
    return np.column_stack((np.arange(float(n)), np.zeros(n)))


def test_few_are_all_compared():
    assert pairs_among(None, 3, 1) == [(0, 1), (0, 2), (1, 2)]
    assert len(pairs_among(_line(59), 59, 2)) == 59 * 58 / 2


def test_many_are_compared_with_their_nearest():
    pairs = pairs_among(_line(100), 100, 4)
    # Inside the line each has two on either side; the ends reach further.
    assert {j - i for i, j in pairs if 5 < i < 90} == {1, 2}
    assert all(i < j for i, j in pairs)
    assert len(set(pairs)) == len(pairs)


def test_without_a_place_the_order_of_the_flight_counts():
    places = _line(100)
    places[50] = np.nan
    pairs = pairs_among(places, 100, 6)
    assert {(47, 50), (49, 50), (50, 51), (50, 53)} <= set(pairs)
    assert (46, 50) not in pairs
    assert (10, 50) not in pairs


def test_many_without_any_place_are_refused():
    assert len(pairs_among(None, 100, 6)) == 4950
    with pytest.raises(InputError, match=r"401 photographs without GPS are too many .*\(400 at most\); give"):
        pairs_among(np.full((401, 2), np.nan), 401, 6)


def test_new_ones_with_old_ones():
    new = np.array([[10.2, 0.0], [np.nan, np.nan]])
    pairs = pairs_between(new, _line(30), 3)
    assert {(0, 9), (0, 10), (0, 11)} == {pair for pair in pairs if pair[0] == 0}
    assert [j for i, j in pairs if i == 1] == list(range(30))


@pytest.mark.parametrize(
    "wrong", [{"camera_model": "FOO"}, {"max_image_px": 0}, {"neighbours": 0}, {"seed": -1}]
)
def test_options_that_cannot_be(wrong):
    with pytest.raises(
        InputError, match=r"no camera model FOO; --camera-model knows|cannot be; give at least"
    ):
        ReconstructOptions(**wrong)

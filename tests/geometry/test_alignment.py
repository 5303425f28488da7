"""Similarities: exact ones are found back, wrong correspondences do not move them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from anerf.errors import InputError
from anerf.geometry.alignment import Similarity, robust_similarity, similarity

cases = st.tuples(st.integers(0, 10_000), st.floats(0.001, 1000), st.integers(3, 40))


def _case(seed: int, scale: float, n: int) -> tuple[Similarity, np.ndarray]:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix()
    translation, source = rng.normal(0, 100, 3), rng.uniform(-10, 10, (n, 3))
    source[:3] += 30 * np.eye(3)[:n]  # never near a line, about which nothing can be found
    return Similarity(scale, rotation, translation), source


def test_by_hand():
    # A quarter turn about z, twice as large, moved 5 along x.
    source = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    target = np.array([[5.0, 0, 0], [5, 2, 0], [3, 0, 0]])
    found = similarity(source, target)
    assert found.scale == pytest.approx(2)
    np.testing.assert_allclose(found.rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(found.translation, [5, 0, 0], atol=1e-12)
    assert found.angle_deg == pytest.approx(90)


@given(cases)
def test_exact_correspondences_are_found_back(case):
    true, source = _case(*case)
    for fit in (similarity, robust_similarity):
        found = fit(source, true.points(source))
        np.testing.assert_allclose(found.points(source), true.points(source), atol=1e-6 * true.scale)
        assert np.linalg.det(found.rotation) == pytest.approx(1)


@given(st.integers(0, 10_000))
def test_wrong_correspondences_do_not_count(seed):
    true, source = _case(seed, 3.0, 40)
    rng = np.random.default_rng(seed + 1)
    target = true.points(source) + rng.normal(0, 0.01, (40, 3))
    target[:14] += rng.normal(0, 300, (14, 3))
    found = robust_similarity(source, target)
    off = np.linalg.norm(found.points(source) - true.points(source), axis=1)
    assert off.max() < 0.1
    plain = similarity(source, target)
    assert np.linalg.norm(plain.points(source) - true.points(source), axis=1).max() > 10


def test_poses_turn_and_their_places_scale():
    true, source = _case(3, 7.0, 1)
    c2w = np.column_stack((Rotation.random(random_state=1).as_matrix(), source[0]))
    moved = true.poses(c2w)
    np.testing.assert_allclose(moved[:, :3], true.rotation @ c2w[:, :3])
    np.testing.assert_allclose(moved[:, 3], true.points(source[0]))


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (np.eye(3)[:2], "2 places cannot be aligned, three are needed"),
        (np.outer(np.arange(9.0), [1, 2, 3]), "9 places on one line"),
        (np.zeros((4, 3)), "4 places on one line"),
    ],
)
def test_what_cannot_be_aligned_says_so(places, says):
    for fit in (similarity, robust_similarity):
        with pytest.raises(InputError, match=says):
            fit(places, places)

"""Poses as people give them: matrices and places on Earth."""

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.geometry.viewpoints import pose_from_matrix, pose_looking_at

HERE = GeodeticReference(51.5, 7.4, 120.0)


def test_a_place_is_looked_at_from_another():
    eye, target = np.array([20.0, -50.0, 80.0]), np.array([5.0, 10.0, 0.0])
    places = [tuple(enu_to_geodetic(p[None], HERE)[0]) for p in (eye, target)]
    np.testing.assert_allclose(pose_looking_at(*places, HERE), look_at(eye, target), atol=1e-6)
    with pytest.raises(InputError, match="move one of them"):
        pose_looking_at(places[0], places[0], HERE)
    with pytest.raises(InputError, match="from the scene"):
        pose_looking_at((0.0, 0.0, 0.0), places[1], HERE)


def test_a_matrix_has_three_or_four_rows():
    pose = look_at((1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    np.testing.assert_array_equal(pose_from_matrix(pose.tolist()), pose)
    np.testing.assert_array_equal(pose_from_matrix([*pose.tolist(), [0, 0, 0, 1]]), pose)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (np.eye(3), "3 x 3 numbers"),
        (np.diag((1, 1, 1, 2.0)), "last row"),
        (np.diag((1, 1, -1, 1.0)), "not a rotation"),
        (np.diag((2, 1, 1, 1.0)), "not a rotation"),
        (np.full((3, 4), np.nan), "not a rotation"),
        (np.full((3, 4), 1e300), "not a rotation"),
        (np.column_stack((np.eye(3), (1e7, 0, 0))), "from the scene"),
    ],
)
def test_what_is_no_pose_is_refused(rows, reason):
    with pytest.raises(InputError, match=reason):
        pose_from_matrix(rows)

"""Frames on the Earth: known places, round trips, and what is told apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import InputError
from anerf.geometry.geodesy import (
    GeodeticReference,
    ecef_to_enu,
    enu_to_ecef,
    enu_to_geodetic,
    geodetic_to_enu,
    is_ecef,
)
from anerf.geometry.rays import look_at

places = st.builds(GeodeticReference, st.floats(-89, 89), st.floats(-180, 180), st.floats(-400, 9000))
offsets = st.lists(st.tuples(*[st.floats(-5000, 5000)] * 3), min_size=1, max_size=8).map(np.array)


def test_on_the_equator_at_greenwich():
    reference = GeodeticReference(0.0, 0.0, 0.0)
    ecef = enu_to_ecef(np.array([[1.0, 2.0, 3.0]]), reference)
    np.testing.assert_allclose(ecef, [[6378137.0 + 3, 1, 2]], atol=1e-9)  # up is x, east is y, north is z


@given(places, offsets)
def test_points_round_trip(reference, enu):
    np.testing.assert_allclose(ecef_to_enu(enu_to_ecef(enu, reference), reference), enu, atol=1e-8)
    np.testing.assert_allclose(geodetic_to_enu(enu_to_geodetic(enu, reference), reference), enu, atol=1e-5)


@given(places, offsets)
def test_poses_round_trip_and_stay_rotations(reference, enu):
    poses = np.stack([look_at(eye, np.add(eye, (1.0, 2.0, -3.0))) for eye in enu])
    ecef = enu_to_ecef(poses, reference)
    np.testing.assert_allclose(ecef[..., 3], enu_to_ecef(poses[..., 3], reference), atol=1e-8)
    np.testing.assert_allclose(np.linalg.det(ecef[..., :3]), 1)
    np.testing.assert_allclose(ecef_to_enu(ecef, reference), poses, atol=1e-8)


@given(places, offsets)
def test_ecef_is_told_from_local(reference, enu):
    assert is_ecef(enu_to_ecef(enu, reference))
    assert not is_ecef(enu)


@given(places)
def test_reference_from_ecef(reference):
    again = GeodeticReference.from_ecef(enu_to_ecef(np.zeros((1, 3)), reference)[0])
    np.testing.assert_allclose(
        enu_to_ecef(np.zeros((1, 3)), again), enu_to_ecef(np.zeros((1, 3)), reference), atol=1e-5
    )


@pytest.mark.parametrize(
    ("latitude", "longitude", "crs"),
    [(51.549, 7.373, "EPSG:32632"), (30.17, -98.09, "EPSG:32614"), (-33.9, 18.4, "EPSG:32734")],
)
def test_utm_zone(latitude, longitude, crs):
    assert GeodeticReference(latitude, longitude, 0.0).utm_crs == crs


def test_no_utm_zone_at_the_pole():
    with pytest.raises(InputError, match="84 degrees north"):
        _ = GeodeticReference(89.0, 0.0, 0.0).utm_crs


def test_refuses_what_is_no_place():
    with pytest.raises(InputError, match="no place on Earth"):
        GeodeticReference(451.0, 7.0, 0.0)
    with pytest.raises(InputError, match="no place on Earth"):
        GeodeticReference(51.0, 7.0, float("nan"))

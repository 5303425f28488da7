"""Moves of the camera, and coordinates as people type them."""

import math

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.viewer.navigation import Stance, from_above, overview, parse_place
from anerf.viewer.picking import Between, place_words

BOX = Aabb((-40.0, -60.0, 0.0), (40.0, 60.0, 20.0))
REFERENCE = GeodeticReference(51.97, 7.741, 100.0)
FROM_EAST = Stance(np.array([30.0, 0.0, 40.0]), np.zeros(3))


def test_north_up_keeps_target_distance_and_steepness() -> None:
    turned = FROM_EAST.north_up()
    assert turned.eye == pytest.approx([0, -30, 40])
    assert turned.target == pytest.approx([0, 0, 0])


def test_straight_down_is_above_the_target_with_north_at_the_top() -> None:
    down = FROM_EAST.straight_down()
    assert down.eye == pytest.approx([0, 0, 50], abs=0.1)
    assert np.allclose(look_at(down.eye, down.target)[:, :3], np.eye(3), atol=2e-3)
    assert down.straight_down().distance_m == pytest.approx(50, rel=1e-5)


def test_the_centre_is_looked_at_from_where_one_stands() -> None:
    looking = FROM_EAST.at_center(BOX)
    assert looking.eye == pytest.approx(FROM_EAST.eye)
    assert looking.target == pytest.approx([0, 0, 10])


def test_a_place_is_seen_from_the_same_side_and_not_from_afar() -> None:
    place = np.array([100.0, 200.0, 5.0])
    there = FROM_EAST.moved_to(place, 20.0)
    assert there.target == pytest.approx(place)
    assert there.eye == pytest.approx(place + np.array([12, 0, 16]))
    standing = FROM_EAST.standing_at(place)
    assert standing.eye == pytest.approx(place)
    assert standing.target - standing.eye == pytest.approx([-30, 0, -40])


@pytest.mark.parametrize("make", [overview, from_above])
def test_views_of_everything_have_the_middle_in_the_middle(make) -> None:
    stance = make(BOX, 60.0)
    pose = look_at(stance.eye, stance.target)
    in_camera = pose[:, :3].T @ (np.array(BOX.center) - pose[:, 3])
    assert abs(in_camera[:2] / in_camera[2]).max() < 0.01


@pytest.mark.parametrize(
    "text", ["51.9709, 7.7424, 130", "51.9709 7.7424 130 m", " 51.9709\u00b0; 7.7424\u00b0, 130m "]
)
def test_coordinates_are_read_as_people_write_them(text: str) -> None:
    place, has_height = parse_place(text, REFERENCE)
    assert has_height
    assert enu_to_geodetic(place[None], REFERENCE)[0] == pytest.approx([51.9709, 7.7424, 130], abs=1e-7)
    assert place_words(place, REFERENCE) == "51.970900\u00b0, 7.742400\u00b0, 130.0\u00a0m"


def test_without_a_height_a_place_is_as_high_as_the_reference() -> None:
    place, has_height = parse_place("51.97, 7.741", REFERENCE)
    assert not has_height
    assert place == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("text", ["", "here", "51.97", "1, 2, 3, 4", "nan, 7", "91, 7", "51, 999", "51; inf"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no place: give latitude"):
        parse_place(text, REFERENCE)


def test_a_place_far_away_is_refused() -> None:
    with pytest.raises(InputError, match="111 km away"):
        parse_place("50.97, 7.741", REFERENCE)


def test_distances_between_clicks() -> None:
    between = Between.of(np.array([1.0, 2.0, 3.0]), np.array([4.0, 6.0, 15.0]))
    assert (between.straight_m, between.level_m, between.rise_m) == pytest.approx((13, 5, 12))
    assert between.bearing_deg == pytest.approx(math.degrees(math.atan2(3, 4)))
    assert Between.of(np.zeros(3), np.array([-1.0, 0.0, 0.0])).bearing_deg == pytest.approx(270)

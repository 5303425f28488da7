"""The browser's camera and the scene's poses mean the same view."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb
from anerf.geometry.rays import look_at
from anerf.viewer.camera import (
    ViewFrame,
    box_edges,
    map_pose,
    oblique_pose,
    quaternion_of,
    rotation_of,
)

FRAME = ViewFrame((10.0, 20.0, 5.0), 50.0)
BOX = Aabb((-40.0, -60.0, 0.0), (40.0, 60.0, 20.0))
_part = st.floats(-1, 1)
_quaternions = st.tuples(_part, _part, _part, _part).filter(lambda q: np.linalg.norm(q) > 0.1).map(np.array)


def test_a_camera_without_rotation_looks_along_z_with_y_down() -> None:
    c2w = FRAME.to_enu(np.array([1.0, 0, 0, 0]), np.array([0.2, 0.0, 1.0]))
    right, up, back, position = c2w.T
    assert right.tolist() == [1, 0, 0]
    assert up.tolist() == [0, -1, 0]
    assert back.tolist() == [0, 0, -1]
    assert position.tolist() == [20, 20, 55]


def test_a_half_turn_about_x_looks_down_with_north_up() -> None:
    c2w = FRAME.to_enu(np.array([0.0, 1, 0, 0]), np.zeros(3))
    assert np.allclose(c2w[:, :3], np.eye(3))


@given(_quaternions, st.tuples(_part, _part, _part))
def test_there_and_back(wxyz: np.ndarray, position: tuple[float, float, float]) -> None:
    c2w = FRAME.to_enu(wxyz, np.array(position))
    assert np.allclose(c2w[:, :3].T @ c2w[:, :3], np.eye(3))
    assert np.linalg.det(c2w[:, :3]) == pytest.approx(1)
    back, place = FRAME.from_enu(c2w)
    same = wxyz / np.linalg.norm(wxyz)
    assert abs(abs(back @ same) - 1) < 1e-9
    assert np.allclose(place, position)


@given(_quaternions)
def test_quaternions_of_rotations_are_unit_and_right(wxyz: np.ndarray) -> None:
    rotation = rotation_of(wxyz)
    assert np.linalg.norm(quaternion_of(rotation)) == pytest.approx(1)
    assert np.allclose(rotation_of(quaternion_of(rotation)), rotation)


def test_what_the_browser_looks_at_is_in_the_middle_of_the_picture() -> None:
    pose = look_at((100.0, -80.0, 60.0), (10.0, 20.0, 5.0))
    wxyz, position = FRAME.from_enu(pose)
    forward = rotation_of(wxyz)[:, 2]
    to_target = FRAME.point((10.0, 20.0, 5.0)) - position
    assert np.allclose(forward, to_target / np.linalg.norm(to_target))


def test_the_first_view_is_oblique_from_the_south_and_sees_the_middle() -> None:
    pose = oblique_pose(BOX, 60.0)
    back = pose[:, 2]
    assert math.degrees(math.asin(back[2])) == pytest.approx(40)
    assert back[1] < 0
    assert pose[2, 3] > BOX.hi[2]
    in_camera = pose[:, :3].T @ (np.array(BOX.center) - pose[:, 3])
    assert np.allclose(in_camera[:2], 0)


def test_the_map_view_has_north_up_and_the_whole_box_in_view() -> None:
    pose = map_pose(BOX, 60.0)
    assert np.allclose(pose[:, :3], np.eye(3))
    half_seen_m = math.tan(math.radians(30)) * (pose[2, 3] - BOX.hi[2])
    assert half_seen_m >= 60


def test_a_box_has_twelve_edges_of_its_sides() -> None:
    edges = box_edges(BOX)
    lengths = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    assert sorted(lengths.tolist()) == [20] * 4 + [80] * 4 + [120] * 4
    assert len({tuple(sorted(map(tuple, edge.tolist()))) for edge in edges}) == 12

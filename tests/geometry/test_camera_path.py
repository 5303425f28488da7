"""Camera paths: they pass through their key frames, smoothly, and the canned ones see the scene."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from anerf.errors import InputError
from anerf.geometry.boxes import Aabb
from anerf.geometry.camera_path import CameraPath, KeyFrame
from anerf.geometry.canned_paths import CANNED_PATHS, canned_path
from anerf.geometry.rays import look_at
from anerf.geometry.rotations import rotation_by, rotation_vector

VECTORS = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)
PLACES = st.tuples(*[st.floats(-500, 500)] * 3)


@st.composite
def paths(draw):
    """Key frames whose cameras turn less than half a turn, at uneven times."""
    gaps = draw(st.lists(st.floats(0.2, 5), min_size=1, max_size=5))
    times = np.cumsum([draw(st.floats(-5, 5)), *gaps])
    keys = []
    for time_s in times:
        rotation = Rotation.from_rotvec(np.array(draw(st.tuples(*[st.floats(-0.8, 0.8)] * 3)))).as_matrix()
        pose = np.column_stack((rotation, draw(PLACES)))
        keys.append(KeyFrame(float(time_s), pose, draw(st.floats(5, 150))))
    return CameraPath(tuple(keys))


@given(VECTORS)
def test_rotation_vectors_are_scipys(vector):
    rotation = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(rotation_by(vector), rotation.as_matrix(), atol=1e-12)
    found = Rotation.from_rotvec(rotation_vector(rotation.as_matrix()))
    assert (found * rotation.inv()).magnitude() < 1e-7


@given(paths())
def test_a_path_passes_through_its_key_frames(path):
    for key in path.keys:
        found = path.at(key.time_s)
        np.testing.assert_allclose(found.c2w, key.c2w, atol=1e-9)
        assert found.fov_y_deg == pytest.approx(key.fov_y_deg)


@given(paths(), st.floats(-0.2, 1.2))
def test_every_pose_of_a_path_is_proper(path, share):
    found = path.at(path.start_s + share * path.duration_s)
    rotation = found.c2w[:, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) > 0
    assert 0 < found.fov_y_deg < 180


@given(paths())
def test_speeds_are_continuous_at_key_frames(path):
    tiny_s = 1e-7
    for key in path.keys[1:-1]:
        before, here, after = (path.at(key.time_s + dt) for dt in (-tiny_s, 0, tiny_s))
        moved = [(b.c2w - a.c2w) / tiny_s for a, b in ((before, here), (here, after))]
        np.testing.assert_allclose(moved[0][:, 3], moved[1][:, 3], atol=0.1, rtol=1e-4)
        np.testing.assert_allclose(moved[0][:, :3], moved[1][:, :3], atol=1e-3)
        zooms = [(b.fov_y_deg - a.fov_y_deg) / tiny_s for a, b in ((before, here), (here, after))]
        assert zooms[0] == pytest.approx(zooms[1], abs=0.05)


def test_between_two_key_frames_a_camera_goes_straight_and_turns_evenly():
    turned = Rotation.from_euler("z", 60, degrees=True).as_matrix()
    one = KeyFrame(0.0, np.column_stack((np.eye(3), (0.0, 0, 0))), 40.0)
    two = KeyFrame(4.0, np.column_stack((turned, (8.0, 0, 0))), 40.0)
    found = CameraPath((one, two)).at(1.0)
    np.testing.assert_allclose(found.c2w[:, 3], (2, 0, 0), atol=1e-12)
    expected = Rotation.from_euler("z", 15, degrees=True).as_matrix()
    np.testing.assert_allclose(found.c2w[:, :3], expected, atol=1e-12)


def test_frames_are_evenly_spaced_and_hold_both_ends():
    pose = look_at((0.0, -10, 5), (0.0, 0, 0))
    path = CameraPath.at_even_speed([pose, look_at((0.0, -10, 9), (0.0, 0, 0))], 2.0, 50.0)
    assert len(path.frames(12)) == 24
    frames = path.frames(10, seconds=1.0)
    assert [f.time_s for f in frames] == pytest.approx([2 * i / 9 for i in range(10)])
    assert CameraPath((KeyFrame(1.0, pose, 50.0),)).frames(10, 0.2)[1].time_s == 1.0


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "at least one"),
        ([(0.0, 1.0, 50.0), (0.0, 1.0, 50.0)], "must rise"),
        ([(float("nan"), 1.0, 50.0)], "finite time"),
        ([(0.0, 1.0, 180.0)], "between 0 and 180"),
        ([(0.0, 2.0, 50.0)], "not a rotation"),
        ([(0.0, -1.0, 50.0)], "not a rotation"),
    ],
)
def test_what_is_no_path_is_refused(keys, reason):
    frames = [KeyFrame(t, np.column_stack((np.diag((s, 1.0, 1.0)), np.zeros(3))), fov) for t, s, fov in keys]
    with pytest.raises(InputError, match=reason):
        CameraPath(tuple(frames))


@pytest.mark.parametrize("name", CANNED_PATHS)
@pytest.mark.parametrize("size", [(100.0, 80.0, 20.0), (2000.0, 300.0, 40.0)])
def test_canned_paths_look_down_at_the_scene_from_above_it(name, size):
    box = Aabb((-size[0] / 2, 10.0, 90.0), (size[0] / 2, 10 + size[1], 90 + size[2]))
    path = canned_path(name, box, 160.0, seconds=8.0)
    assert path.duration_s == pytest.approx(8.0)
    seen = []
    for frame in path.frames(10):
        eye, forward = frame.c2w[:, 3], -frame.c2w[:, 2]
        assert eye[2] > box.hi[2]
        assert frame.c2w[2, 1] > 0  # upright
        assert forward[2] < -0.5  # at least 30 degrees down
        seen.append((eye + forward * (eye[2] - box.lo[2]) / -forward[2])[:2])
    seen = np.array(seen)
    slack = 0.02 * max(size)
    assert (seen >= np.array(box.lo[:2]) - slack).all()
    assert (seen <= np.array(box.hi[:2]) + slack).all()
    if name == "full_coverage":
        assert np.ptp(seen, axis=0)[0] > 0.4 * size[0]
    if name == "east_west":
        assert seen[0, 0] > 0 > seen[-1, 0]
    if name == "north_south":
        assert seen[0, 1] > seen[-1, 1]

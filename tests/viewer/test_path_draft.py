"""Camera paths as they are made in the browser, and where their files may lie."""

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.geometry.rays import look_at
from anerf.viewer.path_draft import Draft, path_file, saved_names

POSES = [look_at((10.0 * i, -20.0, 15.0), (0.0, 0.0, 0.0)) for i in range(4)]


def draft() -> Draft:
    made = Draft()
    for i, pose in enumerate(POSES):
        made = made.added(pose, 50.0 + i, 3.0)
    return made


def test_key_frames_follow_one_another_in_time() -> None:
    path = draft().timed(2, 1.5).path()
    assert [key.time_s for key in path.keys] == [0, 3, 4.5, 7.5]
    assert [key.fov_y_deg for key in path.keys] == [50, 51, 52, 53]
    again = Draft.of(path)
    assert again.legs_s == (0, 3, 1.5, 3)
    assert all((a == b).all() for a, b in zip(again.poses, POSES, strict=True))


def test_without_its_first_key_frame_a_path_begins_with_the_second() -> None:
    left = draft().without(0)
    assert [key.time_s for key in left.path().keys] == [0, 3, 6]
    assert (left.poses[0] == POSES[1]).all()
    assert left.without(0).without(0).without(0).legs_s == ()


def test_a_key_frame_can_be_moved() -> None:
    moved = draft().moved(1, POSES[3])
    assert (moved.poses[1] == POSES[3]).all()
    assert moved.fovs_y_deg == draft().fovs_y_deg
    assert moved.legs_s == draft().legs_s


@pytest.mark.parametrize("n", [0, 1])
def test_one_view_is_no_path(n: int) -> None:
    made = Draft()
    for pose in POSES[:n]:
        made = made.added(pose, 50.0, 3.0)
    with pytest.raises(InputError, match="add at least two views"):
        made.path()


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "/etc/passwd", ".hidden", "a" * 81, "a\0b", "..", "\u00e4"]
)
def test_names_cannot_lead_out_of_the_output_folder(name: str, tmp_path) -> None:
    with pytest.raises(InputError, match="cannot name a path"):
        path_file(tmp_path, name)


def test_saved_paths_are_found_by_name(tmp_path) -> None:
    assert saved_names(tmp_path) == ()
    for name in ("b", "a-1"):
        file = path_file(tmp_path, name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert saved_names(tmp_path) == ("a-1", "b")
    assert np.all([path_file(tmp_path, n).is_file() for n in saved_names(tmp_path)])

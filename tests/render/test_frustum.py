"""Nothing that a view shows is left out, and what is wholly beside, behind or beyond it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.render.frustum import in_view, meeting_rays

CAMERA = Camera.from_fov(80, 60, 60)
DOWN = look_at((0, 0, 100), (0, 0, 0))


def box_at(x: float, y: float, z: float, half: float = 5.0) -> Aabb:
    return Aabb((x - half, y - half, z - half), (x + half, y + half, z + half))


def test_a_view_straight_down_by_hand() -> None:
    # Seen from 100 m with 60 degrees: 57.7 m up and down, 77.0 m to the sides on the ground.
    boxes = [
        box_at(0, 0, 0), box_at(0, 61, 0), box_at(0, 70, 0), box_at(80, 0, 0), box_at(90, 0, 0),
        box_at(0, 0, 110),
    ]  # fmt: skip
    assert in_view(CAMERA, DOWN, boxes).tolist() == [True, True, False, True, False, False]
    assert in_view(CAMERA, DOWN, boxes, far_m=90).tolist() == [False] * 6
    assert in_view(CAMERA, DOWN, boxes[:1], near_m=120).tolist() == [False]
    assert in_view(CAMERA, DOWN, [box_at(0, 50, 0), box_at(0, -50, 0)], rows=(0, 20)).tolist() == [
        True,
        False,
    ]


def test_a_camera_inside_a_box_sees_it() -> None:
    assert in_view(CAMERA, DOWN, [box_at(0, 0, 100, 50)]).tolist() == [True]


def test_a_bent_lens_leaves_out_by_distance_alone() -> None:
    bent = Camera("OPENCV_FISHEYE", 80, 60, (40.0, 40.0, 40.0, 30.0, 0.0, 0.0, 0.0, 0.0))
    boxes = [box_at(300, 0, 0), box_at(900, 0, 0)]
    assert in_view(bent, DOWN, boxes, far_m=500).tolist() == [True, False]


def test_rays_by_hand() -> None:
    origins = np.array([[0.0, 0.0, 100.0], [50.0, 0.0, 100.0]])
    down = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]])
    boxes = [box_at(0, 0, 0), box_at(50, 3, 0), box_at(20, 0, 0), box_at(0, 0, 150)]
    assert meeting_rays(origins, down, boxes).tolist() == [True, True, False, False]


_metres = st.floats(-200, 200)
_unit = st.floats(0, 1)


@given(
    st.tuples(_metres, _metres, _metres), st.tuples(_metres, _metres, _metres),
    st.tuples(_metres, _metres, _metres), st.floats(0.5, 80),
    st.tuples(st.floats(0.01, 79.99), st.floats(0.01, 59.99)), st.floats(1, 400),
)  # fmt: skip
def test_a_box_that_a_pixel_looks_into_is_kept(eye, target, middle, half, pixel, distance_m) -> None:
    if np.linalg.norm(np.subtract(eye, target)) < 1:
        return
    pose = look_at(eye, target)
    ray = np.array([(pixel[0] - 40) / CAMERA.fx, -(pixel[1] - 30) / CAMERA.fy, -1.0])
    direction = pose[:, :3] @ (ray / np.linalg.norm(ray))
    point = pose[:, 3] + distance_m * direction
    box = box_at(*np.clip(middle, point - half, point + half), half + 1e-6)
    row = int(pixel[1])
    for rows in (None, (row, row + 1)):
        near_m, far_m = distance_m - 0.5, distance_m + 0.5
        assert in_view(CAMERA, pose, [box], rows=rows, near_m=near_m, far_m=far_m).all()
    assert meeting_rays(pose[None, :, 3], direction[None], [box]).all()


def test_most_of_many_experts_are_left_out() -> None:
    """Of a thousand regions of 100 m, seen straight down from 120 m: as few as the picture holds."""
    boxes = [box_at(100 * (i % 32), 100 * (i // 32), 0, 51) for i in range(1000)]
    kept = in_view(CAMERA, look_at((1600, 1600, 120), (1600, 1600, 0)), boxes, far_m=500)
    assert 1 <= kept.sum() <= 9


@pytest.mark.parametrize("boxes", [[]])
def test_no_boxes(boxes: list[Aabb]) -> None:
    assert in_view(CAMERA, DOWN, boxes).tolist() == []

"""What a request may say, and what it means as a camera."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from serve_apps.requests import RenderRequest, problem_text
from serve_apps.views import camera_of, pose_of

REFERENCE = GeodeticReference(50.0, 7.0, 100.0)
POSE = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 1.0, 60.0]]


def _request(**changes: Any) -> RenderRequest:
    return RenderRequest.model_validate({"checkpoint": "demo", "c2w": POSE, **changes})


def _geodetic(enu: list[float]) -> dict[str, float]:
    latitude, longitude, height = enu_to_geodetic(np.array([enu]), REFERENCE)[0]
    return {"latitude_deg": float(latitude), "longitude_deg": float(longitude), "height_m": float(height)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": "rgb"}, "layers is not known here, did you mean layer?"),
        ({"zzz": 1}, "zzz is not known here; known are checkpoint"),
        ({"c2w": None}, "give the pose either as c2w or as look_at"),
        (
            {"intrinsics": {"fx": 1, "fy": 1, "cx": 1, "cy": 1}, "fov_y_deg": 50.0},
            "either as intrinsics or as fov",
        ),
        ({"width": 2048, "height": 2048}, "more than 2000000 pixels"),
        ({"width": 7}, "width: "),
        ({"width": "512"}, "width: "),
        ({"width": True}, "width: "),
        ({"samples": 10**9}, "samples: "),
        ({"c2w": [[1.0, 0.0, 0.0]] * 3}, "c2w.0: "),
        ({"c2w": [[math.nan] * 4] * 3}, "c2w.0.0: "),
        ({"layer": "normal"}, "layer: "),
        ({"prefix": "step٣"}, "prefix: "),
        ({"prefix": "best\n"}, "prefix: "),
        ({"expert": -1}, "expert: "),
        ({"sampler": "walk"}, "sampler: "),
    ],
)
def test_wrong_requests_are_one_clear_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _request(**changes)
    assert words in problem_text(caught.value.errors())


def test_an_unknown_key_inside_is_compared_with_its_neighbours() -> None:
    eye = {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 160.0, "lat": 1}
    with pytest.raises(ValidationError) as caught:
        _request(c2w=None, look_at={"eye": eye, "target": eye})
    assert "look_at.eye.lat is not known here; known are latitude_deg" in problem_text(caught.value.errors())


def test_a_matrix_is_taken_as_it_is() -> None:
    assert pose_of(_request(), REFERENCE).tolist() == POSE
    assert pose_of(_request(c2w=[*POSE, [0.0, 0.0, 0.0, 1.0]]), REFERENCE).tolist() == POSE


@pytest.mark.parametrize(
    ("c2w", "words"),
    [
        ([*POSE, [0.0, 0.0, 0.0, 2.0]], "last row"),
        ([[2.0, 0.0, 0.0, 0.0], *POSE[1:]], "not a rotation"),
        ([[-1.0, 0.0, 0.0, 0.0], *POSE[1:]], "not a rotation"),
        ([[1e308, 0.0, 0.0, 0.0], [0.0, 1e308, 0.0, 0.0], [0.0, 0.0, 1e308, 0.0]], "not a rotation"),
        ([[1.0, 0.0, 0.0, 1e9], *POSE[1:]], "1000000 km from the scene"),
    ],
)
def test_matrices_that_are_no_pose_are_refused(c2w: list[list[float]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pose_of(_request(c2w=c2w), REFERENCE)


def test_looking_straight_down_has_north_at_the_top() -> None:
    view = {"eye": _geodetic([10, 20, 80]), "target": _geodetic([10, 20, 0])}
    pose = pose_of(_request(c2w=None, look_at=view), REFERENCE)
    expected = [[1, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1, 80]]
    assert np.abs(pose - expected).max() < 1e-3


_metres = st.floats(-500, 500)


@given(st.tuples(_metres, _metres, _metres), st.tuples(_metres, _metres, _metres))
def test_look_at_puts_the_target_in_the_middle_and_the_horizon_level(
    eye: tuple[float, float, float], target: tuple[float, float, float]
) -> None:
    if np.linalg.norm(np.subtract(eye, target)) < 1:
        return
    view = {"eye": _geodetic(list(eye)), "target": _geodetic(list(target))}
    pose = pose_of(_request(c2w=None, look_at=view), REFERENCE)
    in_camera = pose[:, :3].T @ (np.array(target) - pose[:, 3])
    assert np.abs(in_camera[:2]).max() < 1e-3
    assert in_camera[2] < 0
    assert abs(pose[2, 0]) < 1e-6
    assert np.abs(pose[:, 3] - eye).max() < 1e-3


def test_eye_and_target_must_differ() -> None:
    with pytest.raises(InputError, match="the same place"):
        pose_of(
            _request(c2w=None, look_at={"eye": _geodetic([0, 0, 9]), "target": _geodetic([0, 0, 9])}),
            REFERENCE,
        )


def test_lenses() -> None:
    assert camera_of(_request(fov_y_deg=90.0, width=400, height=300)).fy == pytest.approx(150)
    assert camera_of(_request(height=300)).fy == pytest.approx(150 / math.tan(math.radians(30)))
    lens = {"fx": 300.0, "fy": 310.0, "cx": 200.5, "cy": 150.0}
    camera = camera_of(_request(intrinsics=lens))
    assert (camera.model, camera.width, camera.height, camera.params) == (
        "PINHOLE",
        512,
        384,
        (300.0, 310.0, 200.5, 150.0),
    )

"""nerfstudio's camera models in transforms.json, as the lenses of COLMAP that they are."""

import json

import numpy as np
import pytest
import torch

from anerf.errors import InputError
from anerf.geometry.cameras import Camera, project
from anerf.scene.transforms import read_transforms_survey

POSE = np.eye(4).tolist()
TOP = {"w": 400, "h": 300, "fl_x": 300.0, "fl_y": 310.0, "cx": 201.0, "cy": 149.0}
SIZES = (300.0, 310.0, 201.0, 149.0)


def _camera(tmp_path, **top: object) -> Camera:
    frame = {"file_path": "images/0.jpg", "transform_matrix": POSE}
    (tmp_path / "transforms.json").write_text(json.dumps(TOP | top | {"frames": [frame]}))
    return read_transforms_survey(tmp_path).photographs[0].camera


@pytest.mark.parametrize(
    ("given", "model", "lens"),
    [
        ({}, "PINHOLE", ()),
        ({"camera_model": "SIMPLE_PINHOLE"}, "PINHOLE", ()),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, "OPENCV", (0.1, 0, 0, 0)),
        (
            {"camera_model": "OPENCV", "k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4},
            "OPENCV",
            (0.1, 0.2, 0.3, 0.4),
        ),
        ({"camera_model": "OPENCV", "k1": 0.1, "k3": 0.2}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.2, 0, 0, 0)),
        ({"camera_model": "FULL_OPENCV", "k4": 0.1, "k6": 0.2}, "FULL_OPENCV", (0, 0, 0, 0, 0, 0.1, 0, 0.2)),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2}, "OPENCV_FISHEYE", (0.1, 0, 0, 0.2)),
        ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE", (0, 0, 0, 0)),
        (
            {"camera_model": "OPENCV_FISHEYE", "k3": 0.1, "p2": 0.2},
            "THIN_PRISM_FISHEYE",
            (0, 0, 0, 0.2, 0.1, 0, 0, 0),
        ),
        ({"camera_model": "FOV", "omega": 0.9}, "FOV", (0.9,)),
    ],
)
def test_models(tmp_path, given, model, lens):
    assert _camera(tmp_path, **given) == Camera(model, 400, 300, (*SIZES, *lens))


def test_third_coefficient_is_nerfstudios(tmp_path):
    # nerfstudio: x (1 + k1 r^2 + k2 r^4 + k3 r^6); at r = 0.5 with k3 = 0.4: 0.5 * (1 + 0.4 / 64).
    camera = _camera(tmp_path, camera_model="OPENCV", k3=0.4)
    xy, _ = project(camera, torch.tensor([[0.5, 0.0, -1.0]], dtype=torch.float64))
    assert xy[0].tolist() == pytest.approx([201 + 300 * 0.5 * (1 + 0.4 / 64), 149])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"camera_model": "OPENCV", "k4": 0.1}, "images/0.jpg: a OPENCV lens with k4 0.1, .*FULL_OPENCV"),
        ({"camera_model": "OPENCV_FISHEYE", "k5": 0.1}, "OPENCV_FISHEYE lens with k5 0.1"),
        (
            {"camera_model": "ORTHOPHOTO"},
            "a ORTHOPHOTO camera cannot be read .*bring a COLMAP model",
        ),
        ({"camera_model": "FOV", "omega": 4.0}, "images/0.jpg: a FOV camera with omega 4.0 cannot be"),
    ],
)
def test_refused_models(tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        _camera(tmp_path, **given)


def test_each_frame_may_have_its_own_lens(tmp_path):
    fisheye = {"camera_model": "OPENCV_FISHEYE", "w": 500, "k1": 0.1}
    frames = [
        {"file_path": "images/0.jpg", "transform_matrix": POSE},
        {"file_path": "images/1.jpg", "transform_matrix": POSE, **fisheye},
    ]
    (tmp_path / "transforms.json").write_text(json.dumps(TOP | {"frames": frames}))
    cameras = [photograph.camera for photograph in read_transforms_survey(tmp_path).photographs]
    assert [(camera.model, camera.width) for camera in cameras] == [("PINHOLE", 400), ("OPENCV_FISHEYE", 500)]

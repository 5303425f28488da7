"""Cameras: hand-computed pixels, other sizes of the same picture, and what is no camera."""

import math

import pytest
import torch

from anerf.errors import InputError
from anerf.geometry.cameras import PARAMETER_NAMES, Camera, pixel_directions, project


def test_pinhole_by_hand():
    camera = Camera("PINHOLE", 8, 6, (10.0, 20.0, 4.0, 3.0))
    points = torch.tensor([[0.0, 0.0, -5.0], [1.0, 0.0, -5.0], [0.0, 1.0, -5.0], [1.0, 1.0, 5.0]])
    xy, in_front = project(camera, points)
    assert xy[:3].tolist() == [[4.0, 3.0], [6.0, 3.0], [4.0, -1.0]]  # up in the world is up in the picture
    assert in_front.tolist() == [True, True, True, False]
    assert torch.isfinite(xy).all()


def test_opencv_by_hand():
    # x = 0.5, y = 0: r2 = 0.25; gain = 1 + 0.4*0.25 + 0.8*0.0625 = 1.15; x' = 0.575 + p2*(0.25 + 0.5) = 0.65
    # y' = p1 * 0.25 = 0.05
    camera = Camera("OPENCV", 100, 100, (100.0, 100.0, 50.0, 50.0, 0.4, 0.8, 0.2, 0.1))
    xy, _ = project(camera, torch.tensor([[0.5, 0.0, -1.0]], dtype=torch.float64))
    assert xy[0].tolist() == pytest.approx([115.0, 55.0])


def test_scaling_follows_the_ratio_that_results():
    camera = Camera("SIMPLE_RADIAL", 640, 479, (500.0, 320.0, 239.5, 0.1)).scaled(0.25)
    assert (camera.width, camera.height) == (160, 120)
    assert camera.model == "OPENCV"  # 160/640 and 120/479 differ, so one focal length is not enough
    ratio = 120 / 479
    assert camera.params == pytest.approx((125, 500 * ratio, 80, 239.5 * ratio, 0.1, 0, 0, 0))
    assert Camera("SIMPLE_RADIAL", 640, 480, (500.0, 320.0, 240.0, 0.1)).scaled(0.5).params == (
        250,
        160,
        120,
        0.1,
    )


@pytest.mark.parametrize("model", sorted(PARAMETER_NAMES))
@pytest.mark.parametrize("downscale", [0.25, 0.3333, 0.037])
def test_scaling_keeps_directions(lens_cameras, model, downscale):
    camera = lens_cameras[model]
    small = camera.scaled(downscale)
    ratio = torch.tensor([small.width / camera.width, small.height / camera.height], dtype=torch.float64)
    assert (small.model == model) == (ratio[0] == ratio[1] or "f" not in camera.named)
    xy = torch.tensor([[10.5, 20.5], [600.0, 400.0], [2500.0, 2990.0]], dtype=torch.float64)
    torch.testing.assert_close(pixel_directions(small, xy * ratio), pixel_directions(camera, xy))


def test_scaling_turns_one_focal_length_into_two():
    siblings = {
        "SIMPLE_PINHOLE": "PINHOLE",
        "SIMPLE_RADIAL": "OPENCV",
        "RADIAL": "OPENCV",
        "SIMPLE_FISHEYE": "FISHEYE",
        "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
        "RADIAL_FISHEYE": "OPENCV_FISHEYE",
        "SIMPLE_DIVISION": "DIVISION",
    }
    assert {model for model, names in PARAMETER_NAMES.items() if "f" in names} == set(siblings)
    for model, sibling in siblings.items():
        extra = (0.01, 0.002)[: len(PARAMETER_NAMES[model]) - 3]
        small = Camera(model, 640, 479, (500.0, 320.0, 239.5, *extra)).scaled(0.25)
        assert (small.model, small.params[4 : 4 + len(extra)]) == (sibling, extra)
        assert not any(small.params[4 + len(extra) :])


def test_field_of_view():
    camera = Camera.from_fov(200, 100, 90.0)
    top = pixel_directions(camera, torch.tensor([[100.0, 0.0]]))[0]
    assert top.tolist() == pytest.approx([0.0, math.sqrt(0.5), -math.sqrt(0.5)], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("PANORAMA", 8, 6, (1.0,) * 8), "PANORAMA is not known"),
        (("OPENCV_FISHEYE", 8, 6, (1.0,) * 7), "needs 8 finite parameters"),
        (("EQUIRECTANGULAR", 8, 6, (8.0, 0.0)), "must be positive"),
        (("FOV", 8, 6, (1.0, 1.0, 4.0, 3.0, 3.2)), "omega 3.2 cannot be"),
        (("EUCM", 8, 6, (1.0, 1.0, 4.0, 3.0, 1.1, 1.0)), "alpha 1.1"),
        (("EUCM", 8, 6, (1.0, 1.0, 4.0, 3.0, 0.5, 0.0)), "beta 0.0"),
        (("PINHOLE", 8, 6, (1.0, 1.0, 4.0)), "needs 4 finite parameters"),
        (("PINHOLE", 8, 6, (1.0, 1.0, 4.0, float("nan"))), "needs 4 finite parameters"),
        (("PINHOLE", 0, 6, (1.0, 1.0, 4.0, 3.0)), "0 x 6 pixels"),
        (("PINHOLE", 8, 6, (-1.0, 1.0, 4.0, 3.0)), "must be positive"),
    ],
)
def test_refuses_what_is_no_camera(arguments, says):
    with pytest.raises(InputError, match=says):
        Camera(*arguments)

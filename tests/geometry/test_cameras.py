"""Camera models: hand-computed pixels, and project(pixel_directions) as the identity for all of them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.errors import InputError
from anerf.geometry.cameras import PARAMETER_NAMES, Camera, pixel_directions, project

SIZE = (640, 480)


def _camera(model: str, focal: float, distortion: tuple[float, ...]) -> Camera:
    values = {"f": focal, "fx": focal, "fy": focal * 1.02, "cx": 331.5, "cy": 228.25}
    values |= dict(zip(("k1", "k2", "p1", "p2"), distortion, strict=True))
    return Camera(model, *SIZE, tuple(values[name] for name in PARAMETER_NAMES[model]))


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


cameras = st.builds(
    _camera,
    st.sampled_from(sorted(PARAMETER_NAMES)),
    st.floats(350, 2000),
    st.tuples(
        st.floats(-0.12, 0.3), st.floats(-0.02, 0.1), st.floats(-0.005, 0.005), st.floats(-0.005, 0.005)
    ),
)


@settings(max_examples=60, deadline=None)
@given(camera=cameras, seed=st.integers(0, 2**31))
@pytest.mark.parametrize(("dtype", "tolerance_px"), [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_project_undoes_pixel_directions(dtype, tolerance_px, camera, seed):
    generator = torch.Generator().manual_seed(seed)
    xy = (torch.rand(64, 2, generator=generator, dtype=torch.float64) * torch.tensor(SIZE)).to(dtype)
    directions = pixel_directions(camera, xy)
    assert directions.dtype == dtype
    assert directions.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-6)
    back, in_front = project(camera, directions * 7)
    assert in_front.all()
    assert (back - xy).abs().max() < tolerance_px


def test_agrees_with_pycolmap():
    pycolmap = pytest.importorskip("pycolmap")
    xy = np.random.default_rng(0).uniform((0, 0), SIZE, (50, 2))
    for model in PARAMETER_NAMES:
        camera = _camera(model, 500.0, (-0.1, 0.05, 0.002, -0.003))
        theirs = pycolmap.Camera(model=model, width=640, height=480, params=list(camera.params))
        ours = pixel_directions(camera, torch.from_numpy(xy)).numpy()
        plane = np.asarray(theirs.cam_from_img(xy))[:, :2]
        np.testing.assert_allclose(ours[:, :2] / -ours[:, 2:], plane * (1, -1), atol=1e-7)


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


@settings(deadline=None)
@given(downscale=st.floats(0.05, 1.0), model=st.sampled_from(sorted(PARAMETER_NAMES)))
def test_scaling_keeps_directions(downscale, model):
    camera = _camera(model, 500.0, (-0.1, 0.05, 0.002, -0.003))
    small = camera.scaled(downscale)
    xy = torch.tensor([[10.5, 20.5], [600.0, 400.0]], dtype=torch.float64)
    ratio = torch.tensor([small.width / camera.width, small.height / camera.height], dtype=torch.float64)
    torch.testing.assert_close(pixel_directions(small, xy * ratio), pixel_directions(camera, xy))


def test_field_of_view():
    camera = Camera.from_fov(200, 100, 90.0)
    top = pixel_directions(camera, torch.tensor([[100.0, 0.0]]))[0]
    assert top.tolist() == pytest.approx([0.0, math.sqrt(0.5), -math.sqrt(0.5)], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("OPENCV_FISHEYE", 8, 6, (1.0,) * 8), "OPENCV_FISHEYE is not supported"),
        (("PINHOLE", 8, 6, (1.0, 1.0, 4.0)), "needs 4 finite parameters"),
        (("PINHOLE", 8, 6, (1.0, 1.0, 4.0, float("nan"))), "needs 4 finite parameters"),
        (("PINHOLE", 0, 6, (1.0, 1.0, 4.0, 3.0)), "0 x 6 pixels"),
        (("PINHOLE", 8, 6, (-1.0, 1.0, 4.0, 3.0)), "must be positive"),
    ],
)
def test_refuses_what_is_no_camera(arguments, says):
    with pytest.raises(InputError, match=says):
        Camera(*arguments)

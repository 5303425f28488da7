"""Lenses of every camera model: judged by pycolmap, there and back, at their limits and beyond."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.geometry.camera_models import CAMERA_MODELS, PARAMETER_NAMES, Family
from anerf.geometry.cameras import Camera, pixel_directions, project, seen_pixels, seen_positions

MODELS = sorted(PARAMETER_NAMES)
AXES = np.array([1.0, -1.0, -1.0])  # from our camera axes to COLMAP's


def test_models_are_colmaps():
    pycolmap = pytest.importorskip("pycolmap")
    theirs = {
        name: int(number) for name, number in pycolmap.CameraModelId.__members__.items() if number != -1
    }
    theirs.pop("INVALID", None)
    assert {name: model.number for name, model in CAMERA_MODELS.items()} == theirs
    for name, model in CAMERA_MODELS.items():
        info = pycolmap.Camera.create_from_model_name(1, name, 500.0, 640, 480).params_info
        assert tuple(part.strip() for part in info.split(",")) == model.params


@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_pycolmap(lens_cameras, model):
    pycolmap = pytest.importorskip("pycolmap")
    camera = lens_cameras[model]
    theirs = pycolmap.Camera(
        model=model, width=camera.width, height=camera.height, params=list(camera.params)
    )
    rng = np.random.default_rng(0)
    xy = np.concatenate(
        [rng.uniform(0, (4000, 3000), (300, 2)), [(0, 0), (4000, 0), (0, 3000), (4000, 3000)]]
    )
    ours = pixel_directions(camera, torch.from_numpy(xy)).numpy()
    assert seen_positions(camera, torch.from_numpy(xy)).all()
    rays = np.array([theirs.cam_ray_from_img(place) for place in xy])
    np.testing.assert_allclose(ours * AXES, rays, atol=1e-9)
    # COLMAP refuses points beyond 90 degrees, except for panoramas.
    points = rays * rng.uniform(0.1, 100, (len(rays), 1))
    points = points[points[:, 2] > 1e-6] if model != "EQUIRECTANGULAR" else points
    back, seen = project(camera, torch.from_numpy(points * AXES))
    assert seen.all()
    np.testing.assert_allclose(back.numpy(), theirs.img_from_cam(points), atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance_px"), [(torch.float64, 1e-8), (torch.float32, 4e-3)])
def test_project_undoes_pixel_directions(lens_cameras, model, dtype, tolerance_px):
    camera = lens_cameras[model]
    xy = torch.rand(2000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    xy = (xy * torch.tensor([4000.0, 3000.0])).to(dtype)
    directions = pixel_directions(camera, xy)
    assert directions.dtype == dtype
    assert directions.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-6)
    back, seen = project(camera, directions * 7)
    assert seen.all()
    assert (back - xy).abs().max() < tolerance_px


_small, _tiny = st.floats(-0.3, 0.3), st.floats(-0.01, 0.01)
_RANGES = {
    **dict.fromkeys(("p1", "p2", "p0", "sx1", "sy1", "s0", "s1", "s2", "s3"), _tiny),
    "omega": st.floats(-2.5, 2.5),
    "alpha": st.floats(0, 1),
    "beta": st.floats(0.3, 3),
    "w": st.just(640.0),
    "h": st.just(480.0),
    **dict.fromkeys(("f", "fx", "fy"), st.floats(150, 2000)),
    "cx": st.floats(300, 340),
    "cy": st.floats(220, 260),
}


@st.composite
def _any_camera(draw: st.DrawFn) -> Camera:
    model = draw(st.sampled_from(MODELS))
    names = PARAMETER_NAMES[model]
    return Camera(model, 640, 480, tuple(draw(_RANGES.get(name, _small)) for name in names))


@settings(max_examples=200, deadline=None)
@given(camera=_any_camera(), seed=st.integers(0, 2**31))
def test_any_lens_there_and_back(camera, seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([640.0, 480.0], dtype=torch.float64)
    xy = torch.rand(64, 2, generator=generator, dtype=torch.float64) * size
    directions, here = pixel_directions(camera, xy), seen_positions(camera, xy)
    assert torch.isfinite(directions).all()
    back, seen = project(camera, directions)
    assert torch.isfinite(back).all()
    # At the very edge of what the lens sees, rounding may decide otherwise.
    assert (here & ~seen).sum() <= 1
    assert not ((back - xy).abs().amax(dim=-1)[here & seen] > 1e-6).any()
    axis = torch.tensor([[0.0, 0.0, -1.0], [0.001, 0.002, -1.0]], dtype=torch.float64)
    at, seen = project(camera, axis)
    assert seen.all()
    found = pixel_directions(camera, at)
    assert (found - axis / axis.norm(dim=-1, keepdim=True)).abs().max() < 1e-9


@settings(max_examples=200, deadline=None)
@given(camera=_any_camera(), seed=st.integers(0, 2**31))
def test_what_a_lens_sees_has_one_picture(camera, seed):
    """Points seen in the picture come back from there as the same direction: what folds back is not seen."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    points = points / points.norm(dim=-1, keepdim=True)
    xy, seen = project(camera, points)
    assert torch.isfinite(xy).all()
    seen &= ((xy > 0) & (xy < torch.tensor([640.0, 480.0]))).all(dim=-1)
    here = seen_positions(camera, xy)
    wrong = (pixel_directions(camera, xy) - points).norm(dim=-1) > 1e-4
    assert not (wrong & seen & here).any()
    assert (seen & ~here).sum() <= 1


def test_fisheye_by_hand():
    # 120 degrees to the right of the axis: 2 pi / 3 radians, stretched by 1 + 0.01 (2 pi / 3)^2.
    camera = Camera("OPENCV_FISHEYE", 800, 800, (100.0, 100.0, 400.0, 400.0, 0.01, 0.0, 0.0, 0.0))
    angle = 2 * math.pi / 3
    point = torch.tensor([[math.sin(angle), 0.0, -math.cos(angle)]], dtype=torch.float64)
    xy, seen = project(camera, point * 5)
    assert seen.all()
    assert xy[0].tolist() == pytest.approx([400 + 100 * angle * (1 + 0.01 * angle**2), 400.0])
    torch.testing.assert_close(pixel_directions(camera, xy), point)


@pytest.mark.parametrize("model", MODELS)
def test_what_lies_behind(lens_cameras, model):
    camera = lens_cameras[model]
    behind = torch.tensor([[0.1, 0.0, 1.0]], dtype=torch.float64)
    xy, seen = project(camera, behind)
    sees_behind = model in ("EQUIRECTANGULAR", "SIMPLE_DIVISION", "FISHEYE", "SIMPLE_FISHEYE")
    assert bool(seen) == (sees_behind or model == "SIMPLE_RADIAL_FISHEYE")
    assert torch.isfinite(xy).all()
    if bool(seen):
        torch.testing.assert_close(pixel_directions(camera, xy), behind / behind.norm())


def test_a_picture_within_the_lens_is_seen_everywhere(lens_cameras):
    assert all(seen_pixels(camera) is None for camera in lens_cameras.values())


def test_radial_distortion_that_folds_back():
    # r (1 - 0.5 r^2) is highest at r = sqrt(2 / 3), where it is 0.5443.
    camera = Camera("SIMPLE_RADIAL", 200, 100, (100.0, 100.0, 50.0, -0.5))
    seen = seen_pixels(camera)
    assert seen is not None
    y, x = np.indices((100, 200)) + 0.5
    np.testing.assert_array_equal(seen, np.hypot(x - 100, y - 50) < 54.433)
    folded = torch.tensor([[1.0, 0.0, -1.0], [0.8, 0.0, -1.0], [0.0, 1.2, -1.0]], dtype=torch.float64)
    assert project(camera, folded)[1].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("camera", "radius_px"),
    [
        (Camera("FISHEYE", 800, 700, (100.0, 100.0, 400.0, 350.0)), 100 * math.pi),
        (Camera("FOV", 400, 300, (100.0, 100.0, 200.0, 150.0, 1.0)), 100 * math.pi / 2),
        (Camera("DIVISION", 400, 300, (100.0, 100.0, 200.0, 150.0, 0.5)), 100 * math.sqrt(2)),
        (Camera("EUCM", 400, 300, (100.0, 100.0, 200.0, 150.0, 0.8, 1.0)), 100 / math.sqrt(0.6)),
    ],
)
def test_pictures_larger_than_what_the_lens_sees(camera, radius_px):
    seen = seen_pixels(camera)
    assert seen is not None
    y, x = np.indices(seen.shape) + 0.5
    np.testing.assert_array_equal(seen, np.hypot(x - camera.cx, y - camera.cy) < radius_px)


def test_coefficients_of_a_damaged_file_give_no_picture():
    camera = Camera(
        "FULL_OPENCV", 8, 6, (5.0, 5.0, 4.0, 3.0, 1e308, -1e308, 0.0, 0.0, 1e308, 5e-324, 1e308, 0.0)
    )
    seen = seen_pixels(camera)
    assert seen is not None
    assert not seen.any()


def test_lenses_that_do_nothing_are_pinholes():
    for model in ("OPENCV", "FULL_OPENCV", "RADIAL", "FOV", "DIVISION", "EUCM"):
        names = PARAMETER_NAMES[model]
        values = {"f": 9.0, "fx": 9.0, "fy": 9.0, "cx": 4.0, "cy": 3.0, "beta": 2.0}
        camera = Camera(model, 8, 6, tuple(values.get(name, 0.0) for name in names))
        assert camera.lens.family == Family.PINHOLE

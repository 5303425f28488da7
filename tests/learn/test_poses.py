"""Refined poses, on hills with a painted pattern whose every ray is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anerf.geometry.cameras import Camera, pixel_directions
from anerf.geometry.rays import look_at
from anerf.learn.poses import (
    MAX_SIGMAS,
    MIN_RAYS,
    PoseCorrection,
    PosePrior,
    PoseSteps,
    Sighting,
    refined_pose,
)

CAMERA = Camera.from_fov(800, 600, 45.0)
TRUE = look_at((10.0, -35.0, 55.0), (0.0, 0.0, 0.0))
PRIOR = PosePrior(sigma_m=0.5, sigma_deg=0.3)
STEPS = PoseSteps.of(CAMERA, distance_m=60.0)
OFFSETS = [((0.3, 0.0, 0.0), (0.0, 0.2, 0.0)), ((0.1, -0.2, 0.2), (-0.12, 0.12, 0.1))]
TINT = torch.tensor([[1.2, 0.05, 0.0], [0.0, 0.9, 0.02], [0.03, 0.0, 1.1]], dtype=torch.float64)
_random = torch.Generator().manual_seed(3)
_WAVES = 60
_length_m = torch.exp(torch.rand(_WAVES, generator=_random) * math.log(30.0)).double()
_angle = 2 * math.pi * torch.rand(_WAVES, generator=_random).double()
WAVE = 2 * math.pi / _length_m * torch.stack((_angle.cos(), _angle.sin()))
PAINT = _length_m.sqrt()[:, None] * torch.randn(_WAVES, 3, generator=_random).double()
PAINT *= 0.15 / PAINT.square().sum(0).sqrt()


def height_m(x, y):
    return 3 * torch.sin(x / 7) * torch.cos(y / 9) + torch.sin(x / 3.1 + 1) * torch.sin(y / 4)


def hills(rays_o, rays_d):
    """Colours where rays meet the hills."""
    t = -rays_o[:, 2] / rays_d[:, 2]
    for _ in range(8):
        x, y, z = (rays_o + t[:, None] * rays_d).unbind(1)
        t = t + (height_m(x, y) - z) / rays_d[:, 2]
    xy = (rays_o + t[:, None] * rays_d)[:, :2]
    return 0.5 + torch.sin(xy @ WAVE) @ PAINT


def grey(rays_o, rays_d):
    return torch.full_like(rays_d, 0.5)


def photographed(render, n=1024, seed=0):
    """Random rays of a photograph from the true pose, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(n, 2, generator=generator).double() * torch.tensor([CAMERA.width, CAMERA.height])
    directions = pixel_directions(CAMERA, xy)
    c2w = torch.from_numpy(TRUE)
    rgb = render(c2w[:, 3].expand(n, 3), directions @ c2w[:, :3].T)
    return Sighting(directions, rgb + 0.01 * torch.randn(n, 3, generator=generator), torch.ones(n))


def moved(translation_m, rotation_deg, c2w=TRUE):
    return PoseCorrection(translation_m, rotation_deg, 0, 0, 0).applied(c2w)


def distance(one, other):
    """Between two poses, in metres and degrees."""
    cosine = (np.trace(one[:, :3].T @ other[:, :3]) - 1) / 2
    return np.linalg.norm(one[:, 3] - other[:, 3]), math.degrees(math.acos(min(1.0, cosine)))


def assert_recovered(c2w, sighting, within_m=0.05, within_deg=0.03):
    correction = refined_pose(hills, c2w, sighting, PRIOR, STEPS)
    metres, degrees = distance(correction.applied(c2w), TRUE)
    assert metres < within_m
    assert degrees < within_deg
    assert not correction.refused
    assert correction.cost_after < correction.cost_before


@pytest.mark.parametrize(("translation_m", "rotation_deg"), OFFSETS)
def test_a_pose_is_found_again(translation_m, rotation_deg):
    assert_recovered(moved(translation_m, rotation_deg), photographed(hills))


@pytest.mark.parametrize(("translation_m", "rotation_deg"), OFFSETS)
def test_exposure_and_tint_are_not_taken_for_a_pose(translation_m, rotation_deg):
    seen = photographed(hills)
    tinted = Sighting(seen.directions, seen.rgb @ TINT + torch.tensor([0.05, -0.03, 0.1]), seen.weight)
    assert_recovered(moved(translation_m, rotation_deg), tinted)


def test_a_fifth_of_the_picture_may_have_changed():
    seen = photographed(hills)
    changed = seen.directions[:, 0] > 0.28
    assert 0.1 < changed.double().mean() < 0.25
    rgb = torch.where(changed[:, None], torch.tensor([0.9, 0.1, 0.8]), seen.rgb)
    assert_recovered(moved(*OFFSETS[0]), Sighting(seen.directions, rgb, seen.weight), 0.1, 0.08)


def test_masked_pixels_do_not_count():
    seen = photographed(hills)
    masked = seen.directions[:, 1] > 0.1
    rgb = torch.where(masked[:, None], torch.rand(len(masked), 3).double(), seen.rgb)
    sighting = Sighting(seen.directions, rgb, (~masked).float())
    assert_recovered(moved(*OFFSETS[1]), sighting)


def test_a_right_pose_stays():
    correction = refined_pose(hills, TRUE, photographed(hills), PRIOR, STEPS)
    assert correction.metres < 0.02
    assert correction.degrees < 0.02


@pytest.mark.parametrize("render", [grey, lambda o, d: torch.full_like(d, math.nan)], ids=["grey", "nan"])
def test_where_nothing_is_to_be_seen_the_given_pose_stays(render):
    c2w = moved(*OFFSETS[0])
    for sighting in (photographed(grey), photographed(hills)):
        correction = refined_pose(render, c2w, sighting, PRIOR, STEPS)
        assert (correction.translation_m, correction.rotation_deg) == ((0, 0, 0), (0, 0, 0))
        assert np.array_equal(correction.applied(c2w), c2w)


def test_a_narrow_prior_holds():
    c2w = moved(*OFFSETS[0])
    free, held = (
        refined_pose(hills, c2w, photographed(hills), PosePrior(sigma_m, sigma_deg), STEPS)
        for sigma_m, sigma_deg in ((0.5, 0.3), (0.005, 0.003))
    )
    assert held.metres < 0.1 * free.metres
    assert held.degrees < 0.1 * free.degrees


def test_a_correction_beyond_the_limit_is_refused():
    c2w, prior = moved((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), PosePrior(0.5, 0.95 / MAX_SIGMAS)
    correction = refined_pose(hills, c2w, photographed(hills), prior, STEPS)
    assert correction.refused
    assert (correction.metres, correction.degrees) == (0, 0)
    assert correction.cost_after == correction.cost_before


def test_a_few_rays_prove_nothing():
    correction = refined_pose(hills, moved(*OFFSETS[0]), photographed(hills, MIN_RAYS - 1), PRIOR, STEPS)
    assert (correction.metres, correction.degrees, correction.n_rays) == (0, 0, MIN_RAYS - 1)


@given(st.integers(0, 2**31), st.floats(0, 2), st.floats(0, 2))
def test_a_photograph_of_something_else_never_fits_worse_than_before(seed, metres, degrees):
    generator = torch.Generator().manual_seed(seed)
    seen = photographed(hills, 128, seed)
    noise = Sighting(seen.directions, torch.rand(128, 3, generator=generator), seen.weight)
    correction = refined_pose(hills, moved((metres, 0, 0), (0, degrees, 0)), noise, PRIOR, STEPS)
    assert correction.cost_after <= correction.cost_before
    assert correction.metres <= MAX_SIGMAS * PRIOR.sigma_m
    assert correction.degrees <= MAX_SIGMAS * PRIOR.sigma_deg
    assert (correction.cost_after == correction.cost_before) == (correction.metres == 0)


number = st.floats(-200, 200)


@given(st.tuples(number, number, number), st.tuples(number, number, number))
def test_a_corrected_pose_is_a_rigid_motion(translation_m, rotation_deg):
    c2w = moved(translation_m, rotation_deg)
    rotation = c2w[:, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(c2w[:, 3] - TRUE[:, 3], translation_m, atol=1e-12)


def test_rotations_are_about_the_cameras_axes():
    """A quarter turn about its own up: what was on the left lies ahead."""
    turned = moved((0.0, 0.0, 0.0), (0.0, 90.0, 0.0))
    np.testing.assert_allclose(-turned[:, 2], -TRUE[:, 0], atol=1e-12)
    np.testing.assert_allclose(turned[:, 1], TRUE[:, 1], atol=1e-12)


def test_steps_move_the_picture_by_half_a_pixel():
    camera = Camera("SIMPLE_PINHOLE", 100, 100, (100.0, 50.0, 50.0))
    steps = PoseSteps.of(camera, distance_m=40.0)
    assert steps.metres == pytest.approx(0.2)
    assert steps.degrees == pytest.approx(math.degrees(0.005))

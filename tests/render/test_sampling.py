"""Samples follow the density profile, keep exploring, and stay where something may be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anerf.render.sampling import coarse_steps, draw_intervals, sampling_profile


def regular(n_rays, n):
    return torch.full((n_rays, n + 1), 0.5)


def steps_between(near, far, n_coarse=10):
    return coarse_steps(torch.tensor([near]), torch.tensor([far]), n_coarse, torch.tensor([0.5]))


def test_uniform_profile_gives_even_intervals():
    steps = steps_between(2.0, 12.0)
    t_starts, t_ends, hit = draw_intervals(torch.ones(1, 10), steps, 4, regular(1, 4))
    # Five borders at the middles of five equal parts of [2, 12].
    assert t_starts[0].tolist() == pytest.approx([3, 5, 7, 9])
    assert t_ends[0].tolist() == pytest.approx([5, 7, 9, 11])
    assert hit.item()


def test_a_wall_draws_the_samples_and_the_floor_looks_behind_it():
    steps = steps_between(0.0, 10.0)
    sigma = torch.zeros(1, 10)
    sigma[0, 4:] = 1e4
    allowed = torch.ones(1, 10, dtype=torch.bool)
    profile = sampling_profile(sigma, allowed, steps.step, 0.3)[0]
    assert profile.argmax().item() == 4
    assert profile[9].item() == pytest.approx(0.03)  # 0.3 / 10: hidden, but never starved
    assert sampling_profile(sigma, allowed, steps.step, 0.0)[0, 9].item() == 0


def test_forbidden_steps_get_no_samples():
    steps = steps_between(0.0, 10.0)
    allowed = torch.zeros(1, 10, dtype=torch.bool)
    allowed[0, 6:8] = True
    profile = sampling_profile(torch.zeros(1, 10), allowed, steps.step, 0.3)
    t_starts, t_ends, _ = draw_intervals(profile, steps, 8, regular(1, 8))
    assert t_starts.min() >= 6
    assert t_ends.max() <= 8


def test_a_ray_that_misses_gets_intervals_without_length():
    steps = steps_between(5.0, 5.0)
    t_starts, t_ends, hit = draw_intervals(torch.zeros(1, 10), steps, 4, regular(1, 4))
    assert not hit.item()
    assert torch.equal(t_starts, t_ends)


@given(st.integers(0, 2**31), st.integers(1, 32))
def test_intervals_are_ordered_and_inside(seed, n_samples):
    generator = torch.Generator().manual_seed(seed)
    near = torch.rand(7, generator=generator) * 5
    steps = coarse_steps(near, near + 3, 16, torch.rand(7, generator=generator))
    profile = torch.rand(7, 16, generator=generator) * (torch.rand(7, 16, generator=generator) > 0.6)
    jitter = torch.rand(7, n_samples + 1, generator=generator)
    t_starts, t_ends, _ = draw_intervals(profile, steps, n_samples, jitter)
    assert (t_ends >= t_starts - 1e-5).all()
    assert (t_starts >= near[:, None] - 1e-4).all()
    assert (t_ends <= near[:, None] + 3 + 1e-4).all()
    assert torch.allclose(t_starts[:, 1:], t_ends[:, :-1])

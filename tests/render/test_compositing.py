"""Volume rendering by hand."""

import math

import pytest
import torch

from anerf.render.compositing import composite_matrix, median_depth, sample_weights
from anerf.render.samples import Samples


def test_two_samples_by_hand():
    sigma, lengths = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.25]])
    first = 1 - math.exp(-0.5)
    second = math.exp(-0.5) * (1 - math.exp(-0.5))
    assert sample_weights(sigma, lengths)[0].tolist() == pytest.approx([first, second])


def test_background_shows_through_what_is_left():
    rgb = torch.zeros(1, 1, 3)
    seen = composite_matrix(
        rgb, torch.tensor([[math.log(2.0)]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.ones(1, 3)
    )
    assert seen.opacity.item() == pytest.approx(0.5)
    assert seen.rgb[0].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_depth_is_the_mean_of_what_is_opaque():
    sigma = torch.tensor([[0.0, 1e6, 1e6]])
    t = torch.tensor([[0.0, 1.0, 2.0]])
    seen = composite_matrix(torch.rand(1, 3, 3), sigma, t, t + 1, torch.zeros(1, 3))
    assert seen.depth.item() == pytest.approx(1.5)
    assert seen.weights[0].tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_samples_without_length_weigh_nothing():
    sigma, t = torch.full((1, 4), 1e9), torch.zeros(1, 4)
    seen = composite_matrix(torch.rand(1, 4, 3), sigma, t, t, torch.full((1, 3), 0.25))
    assert seen.opacity.item() == 0
    assert seen.rgb[0].tolist() == pytest.approx([0.25] * 3)


def samples_of(*rays: list[tuple[float, float]]) -> Samples:
    """Samples from the start and end of each interval of each ray."""
    starts, ends = (torch.tensor([s[side] for ray in rays for s in ray]) for side in (0, 1))
    counts = torch.tensor([len(ray) for ray in rays])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).int()
    index = torch.repeat_interleave(torch.arange(len(rays)), counts).int()
    return Samples(torch.zeros(len(starts), 3), starts, ends, index, offsets)


def test_median_depth_is_where_half_of_what_is_opaque_is_met():
    samples = samples_of([(0, 2), (2, 4), (8, 10)], [], [(1, 3)], [(5, 6), (6, 7)])
    weights = torch.tensor([0.1, 0.1, 0.7, 0.0, 0.4, 0.4])
    depth = median_depth(weights, samples, torch.tensor([0.9, 0.0, 0.0, 0.8]))
    # Half of 0.9 is 0.45: 0.25 of 0.7 into the third sample. The haze before it moves the mean by more.
    assert depth.tolist() == pytest.approx([8 + 2 * 0.25 / 0.7, 0, 0, 6])


def test_median_depth_of_a_hundred_thousand_rays_does_not_lose_digits():
    n = 100_000
    samples = samples_of(*[[(0.0, 1.0), (3.0, 4.0)]] * n)
    depth = median_depth(torch.tensor([0.2, 0.6]).repeat(n), samples, torch.full((n,), 0.8))
    assert (depth - (3 + 0.2 / 0.6)).abs().max() < 1e-4


def test_no_samples_at_all_have_no_depth():
    assert median_depth(torch.zeros(0), samples_of([], []), torch.zeros(2)).tolist() == [0, 0]

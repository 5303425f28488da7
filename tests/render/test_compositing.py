"""Volume rendering by hand."""

import math

import pytest
import torch

from anerf.render.compositing import composite_matrix, sample_weights


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

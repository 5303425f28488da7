"""Experts share samples: by hand, and the kernels against their twin."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import BackendError
from anerf.render import cpu_blending, torch_blending
from anerf.render.router import Answered, Router
from anerf.render.samples import Samples

BOTH = pytest.mark.parametrize("blending", [torch_blending, cpu_blending], ids=["torch", "kernel"])
TWO = Router(
    centroids=torch.tensor([[0.0, 0, 0], [4.0, 0, 0]]),
    cubes=torch.tensor([[-2.0, -2, -2, 8.0], [-2.0, -2, -2, 16.0]]),
    dims=2,
    margin=2.0,
)


def samples_at(x, per_ray=1) -> Samples:
    n = len(x)
    ray_index = torch.arange(n, dtype=torch.int32) // per_ray
    offsets = torch.arange(0, n + 1, per_ray, dtype=torch.int32)
    return Samples(x, torch.zeros(n), torch.ones(n), ray_index, offsets)


@BOTH
def test_a_sample_goes_to_its_region_and_between_two_to_both(blending):
    x = torch.tensor([[0.5, 9.0, 0.0], [1.5, 0.0, 3.0], [4.0, 0.0, 0.0]])
    x[0, 1] = 0.5
    first, second = blending.route(TWO, samples_at(x))
    # The middle one is 1.5 and 2.5 away, below the margin: weights 1 / 1.5 and 1 / 2.5, made to sum to 1.
    assert (first.expert, first.sample.tolist()) == (0, [0, 1])
    assert first.weight.tolist() == pytest.approx([1.0, 0.625])
    assert (second.expert, second.sample.tolist()) == (1, [1, 2])
    assert second.weight.tolist() == pytest.approx([0.375, 1.0])
    assert second.ray_index.tolist() == [1, 2]
    assert second.x[0].tolist() == pytest.approx([3.5 / 16, 2 / 16, 5 / 16])


@BOTH
def test_colours_are_weighted_with_densities(blending):
    answers = blending.route(TWO, samples_at(torch.tensor([[1.5, 0.0, 3.0]])))
    red, blue = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 0, 1]])
    answered = [
        Answered(answers[0], red, torch.tensor([8.0])),  # 0.625 x 8 = 5
        Answered(answers[1], blue, torch.tensor([8.0])),  # 0.375 x 8 = 3
    ]
    rgb, sigma = blending.blend(1, answered)
    assert sigma.tolist() == pytest.approx([8.0])
    assert rgb[0].tolist() == pytest.approx([0.625, 0.0, 0.375])
    given = blending.givers(1, 2, answered, torch.tensor([0.4]))
    assert given[0].tolist() == pytest.approx([0.25, 0.15])


@BOTH
def test_a_single_expert_answers_with_its_share(blending):
    only = Router(TWO.centroids, TWO.cubes, 2, 2.0, only=1)
    (answer,) = blending.route(only, samples_at(torch.tensor([[0.5, 0.5, 0.0], [1.5, 0.0, 3.0]])))
    assert (answer.expert, answer.sample.tolist()) == (1, [1])
    assert answer.weight.tolist() == pytest.approx([0.375])


@BOTH
def test_nothing_to_share(blending):
    empty = samples_at(torch.empty(0, 3))
    assert blending.route(TWO, empty) == []
    rgb, sigma = blending.blend(0, [])
    assert (rgb.shape, sigma.shape) == ((0, 3), (0,))


@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([1.0, 1.1, 1.7]), st.sampled_from([2, 3]))
def test_kernel_and_twin_agree(seed, n_experts, margin, dims):
    generator = torch.Generator().manual_seed(seed)
    n, per_ray = 120, 4
    samples = samples_at(torch.rand(n, 3, generator=generator) * 2 - 0.5, per_ray)
    cubes = torch.cat([torch.zeros(n_experts, 3), torch.ones(n_experts, 1)], dim=1)
    router = Router(torch.rand(n_experts, 3, generator=generator), cubes, dims, margin)
    results = []
    for blending in (torch_blending, cpu_blending):
        answered = []
        for answer in blending.route(router, samples):
            chance = torch.Generator().manual_seed(answer.expert)
            rgb, sigma = torch.rand(n, 3, generator=chance), torch.rand(n, generator=chance)
            answered.append(Answered(answer, rgb[answer.sample], sigma[answer.sample]))
        weights = torch.linspace(0, 1, n)
        results.append(
            (*blending.blend(n, answered), blending.givers(n // per_ray, n_experts, answered, weights))
        )
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_impossible_routers_are_refused():
    for dims, margin in ((4, 1.1), (2, 0.9), (2, float("nan"))):
        with pytest.raises(BackendError, match="cannot be routed"):
            cpu_blending.route(Router(TWO.centroids, TWO.cubes, dims, margin), samples_at(torch.zeros(1, 3)))

"""Experts share samples: by hand, and the kernels against their twin and with what no caller should send."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import BackendError
from anerf.render import cpu_blending, torch_blending
from anerf.render.router import Answer, Answered, Router
from anerf.render.samples import Samples

NAN, INF = float("nan"), float("inf")
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
    per_ray = 4
    x, centroids = (
        torch.rand(120, 3, generator=generator) * 2 - 0.5,
        torch.rand(n_experts, 3, generator=generator),
    )
    # On a region's border rounding decides who answers: no sample lies there.
    ratio = torch.cdist(x[:, :dims].double(), centroids[:, :dims].double())
    ratio = ratio / ratio.min(dim=1, keepdim=True).values
    clear = (ratio == 1) | (((ratio - margin).abs() > 1e-4) & (ratio > 1 + 1e-4))
    x = x[clear.all(dim=1)]
    n = len(x) // per_ray * per_ray
    assert n > 80
    samples = samples_at(x[:n], per_ray)
    cubes = torch.cat([torch.zeros(n_experts, 3), torch.ones(n_experts, 1)], dim=1)
    router = Router(centroids, cubes, dims, margin)
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
    nobody = Router(torch.zeros(0, 3), torch.zeros(0, 4), 2, 1.1)
    with pytest.raises(BackendError, match="among 0 experts: it takes one"):
        cpu_blending.route(nobody, samples_at(torch.zeros(1, 3)))


@pytest.mark.parametrize("n_threads", [2, 5])
def test_any_number_of_threads_shares_the_same(n_threads, threads):
    """Of three tiles of samples and a part of one."""
    x = torch.randn(7000, 3, generator=torch.Generator().manual_seed(3))
    router = Router(x[:6], torch.tensor([[-3.0, -3, -3, 6]]).expand(6, 4), 3, 1.6)
    results = []
    for number in (1, n_threads):
        threads(number)
        answers = cpu_blending.route(router, samples_at(x, 4))
        answered = [Answered(a, a.x, a.weight) for a in answers]
        results.append(
            [*cpu_blending.blend(7000, answered), *(t for a in answers for t in list(vars(a).values())[1:])]
        )
    assert len(results[0]) == 2 + 6 * 4
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    twins = torch_blending.route(router, samples_at(x, 4))
    assert sum(len(a.x) for a in answers) == pytest.approx(sum(len(a.x) for a in twins), rel=1e-3)


@given(st.integers(0, 2**31), st.integers(0, 300), st.integers(1, 9), st.sampled_from([1.0, 1.5, 1e9, INF]))
def test_any_numbers_are_shared(seed, n, n_experts, margin):
    generator = torch.Generator().manual_seed(seed)

    def junk(*shape: int) -> torch.Tensor:
        wild = torch.tensor([NAN, INF, -INF, 0.0, 1e-40, 1e19, 3e38, -3e38])
        mixed = wild[torch.randint(len(wild), shape, generator=generator)]
        tame = torch.randn(shape, generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < 0.2, mixed, tame)

    router = Router(junk(n_experts, 3), junk(n_experts, 4), 2 + seed % 2, margin, seed % 3 or None)
    answers = cpu_blending.route(router, samples_at(junk(n, 3)))
    for answer in answers:
        assert ((answer.sample >= 0) & (answer.sample < n)).all()
        assert not ((answer.x < 0) | (answer.x > 1)).any()
    answered = [Answered(a, junk(len(a.x), 3), junk(len(a.x))) for a in answers]
    rgb, sigma = cpu_blending.blend(n, answered)
    assert (rgb.shape, sigma.shape) == ((n, 3), (n,))
    assert cpu_blending.givers(n, n_experts, answered, junk(n)).shape == (n, n_experts)


def test_answers_that_do_not_fit_are_refused():
    good = Answer(0, torch.tensor([0, 1]).int(), torch.tensor([0, 1]).int(), torch.ones(2), torch.zeros(2, 3))
    rgb, sigma = torch.rand(2, 3), torch.rand(2)
    for changes, words in (
        ({"sample": torch.tensor([0, 5]).int()}, "sample reaches from 0 to 5"),
        ({"sample": torch.tensor([-1, 0]).int()}, "sample reaches from -1"),
        ({"weight": torch.ones(3)}, "weight has shape"),
    ):
        with pytest.raises(BackendError, match=words):
            cpu_blending.blend(2, [Answered(replace(good, **changes), rgb, sigma)])
    for changes, words in (
        ({"expert": 3}, "expert 3 gave an answer where 0 to 2 exist"),
        ({"expert": -1}, "expert -1 gave"),
        ({"ray_index": torch.tensor([0, 7]).int()}, "ray_index reaches from 0 to 7"),
    ):
        with pytest.raises(BackendError, match=words):
            cpu_blending.givers(7, 3, [Answered(replace(good, **changes), rgb, sigma)], torch.ones(2))

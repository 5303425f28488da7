"""Blending by the kernel: by hand, and values and gradients by the twin in float64."""

import math

import pytest
import torch

from anerf.render import cpu_rays, torch_rays
from anerf.render.compositing import Composite
from anerf.render.samples import Samples

OUTPUTS = ("rgb", "depth", "opacity", "weights")


def samples_of(counts: list[int], seed: int = 1) -> Samples:
    """Touching intervals of random lengths from t = 1 on; every seventh has none."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0).int()
    ray_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64)).int()
    n = len(ray_index)
    length = torch.rand(n, generator=generator) * 0.1
    length[::7] = 0
    before = torch.cat([torch.zeros(1), length.cumsum(0)])
    t_starts = 1 + before[:-1] - before[offsets.long()][ray_index.long()]
    return Samples(torch.zeros(n, 3), t_starts, t_starts + length, ray_index, offsets)


def doubled(samples: Samples) -> Samples:
    """The same for the twin in float64."""
    return Samples(
        samples.x.double(),
        samples.t_starts.double(),
        samples.t_ends.double(),
        samples.ray_index,
        samples.offsets,
    )


def inputs_of(samples: Samples, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rgb, sigma and background: every third ray is haze, the others become opaque early or late."""
    generator = torch.Generator().manual_seed(seed)
    n, r = len(samples.x), samples.n_rays
    thick = 10 ** (torch.rand(r, generator=generator) * 3 - 1)
    sigma = torch.rand(n, generator=generator) * thick[samples.ray_index.long()]
    return torch.rand(n, 3, generator=generator), sigma, torch.rand(r, 3, generator=generator)


COUNTS = [0, 3, 1, 40, 0, 17, 2, 8, 64, 5, 30, 0]


def gradients(module, samples: Samples, dtype: torch.dtype, output: str) -> list[torch.Tensor]:
    """Of some weighted sum of one output, or of all, in rgb, sigma and background."""
    inputs = [t.to(dtype).requires_grad_() for t in inputs_of(samples)]
    seen: Composite = module.composite(inputs[0], inputs[1], samples, inputs[2])
    generator = torch.Generator().manual_seed(3)
    loss = torch.zeros((), dtype=dtype)
    for name in OUTPUTS:
        value = getattr(seen, name)
        factor = torch.randn(value.shape, generator=generator).to(dtype)
        if output in (name, "all"):
            loss = loss + (value * factor).sum()
    grads = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(inputs, grads, strict=True)]


def test_two_samples_by_hand():
    samples = Samples(
        torch.zeros(2, 3), torch.tensor([1.0, 1.5]), torch.tensor([1.5, 1.75]), torch.zeros(2).int(),
        torch.tensor([0, 2]).int(),
    )  # fmt: skip
    rgb, sigma = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), torch.tensor([1.0, 2.0])
    seen = cpu_rays.composite(rgb, sigma, samples, torch.tensor([[0.0, 0.0, 1.0]]))
    first, second, left = 1 - math.exp(-0.5), math.exp(-0.5) * (1 - math.exp(-0.5)), math.exp(-1.0)
    assert seen.weights.tolist() == pytest.approx([first, second])
    assert seen.rgb[0].tolist() == pytest.approx([first, second, left])
    assert seen.opacity.item() == pytest.approx(1 - left)
    assert seen.depth.item() == pytest.approx((1.25 * first + 1.625 * second) / (1 - left))


def test_a_ray_without_samples_is_background():
    samples = samples_of([0, 2, 0])
    rgb, sigma, background = inputs_of(samples)
    seen = cpu_rays.composite(rgb, sigma, samples, background)
    assert torch.equal(seen.rgb[[0, 2]], background[[0, 2]])
    assert seen.depth[[0, 2]].tolist() == seen.opacity[[0, 2]].tolist() == [0, 0]


def test_values_are_the_twins(kernel_variant):
    samples = samples_of(COUNTS * 40)
    rgb, sigma, background = inputs_of(samples)
    seen = cpu_rays.composite(rgb, sigma, samples, background)
    twins = torch_rays.composite(rgb.double(), sigma.double(), doubled(samples), background.double())
    assert seen.opacity.min() == 0
    assert seen.opacity.max() > 0.999
    for name in ("rgb", "opacity", "weights"):
        assert (getattr(seen, name) - getattr(twins, name)).abs().max() < 1e-6, name
    # Depth divides by the opacity, whose error is that of 1 - exp(-x).
    assert ((seen.depth - twins.depth) * twins.opacity).abs().max() < 1e-6
    assert (seen.depth - twins.depth)[twins.opacity > 0.01].abs().max() < 2e-5


@pytest.mark.parametrize("output", [*OUTPUTS, "all"])
def test_gradients_are_the_twins(output, kernel_variant):
    samples = samples_of(COUNTS * 10)
    got = gradients(cpu_rays, samples, torch.float32, output)
    expected = gradients(torch_rays, doubled(samples), torch.float64, output)
    for one, other in zip(got, expected, strict=True):
        assert float((one - other).norm()) <= 5e-6 * float(other.norm())
    assert got[1].abs().max() > 0
    assert bool(got[2].any()) == (output in ("rgb", "all"))


def test_gradients_by_finite_differences():
    """Each density moved by hand; in float32 a step of 1e-2 is the best compromise."""
    samples = samples_of([5])
    grad = gradients(cpu_rays, samples, torch.float32, "rgb")[1]
    rgb, sigma, background = inputs_of(samples)
    factor = torch.randn((1, 3), generator=torch.Generator().manual_seed(3))
    for i in range(5):
        sides = []
        for h in (0.01, -0.01):
            moved = sigma.clone()
            moved[i] += h
            sides.append((cpu_rays.composite(rgb, moved, samples, background).rgb * factor).sum().item())
        assert grad[i].item() == pytest.approx((sides[0] - sides[1]) / 0.02, abs=5e-5)


def test_no_rays_and_rays_without_any_samples():
    for counts in ([], [0, 0, 0]):
        samples = samples_of(counts)
        for grad, like in zip(
            gradients(cpu_rays, samples, torch.float32, "all"), inputs_of(samples), strict=True
        ):
            assert grad.shape == like.shape
        seen = cpu_rays.composite(*inputs_of(samples)[:2], samples, inputs_of(samples)[2])
        assert seen.rgb.shape == (len(counts), 3)


@pytest.mark.parametrize("n_threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(n_threads, threads):
    samples = samples_of(COUNTS * 200)
    rgb, sigma, background = inputs_of(samples)
    results = []
    for number in (1, n_threads):
        threads(number)
        seen = cpu_rays.composite(rgb, sigma, samples, background)
        results.append([*vars(seen).values(), *gradients(cpu_rays, samples, torch.float32, "all")])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))

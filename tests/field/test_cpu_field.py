"""The field's kernels against the twin in float64: values, every gradient, the marks of what was touched."""

import math
from dataclasses import replace
from typing import Self

import pytest
import torch

from anerf.errors import BackendError
from anerf.field.backend import CpuBackend, DensityScale, FieldBackend, TorchBackend
from anerf.field.encoding import encode_grid
from anerf.field.layout import FLIGHT_CODE_DIM, FieldLayout, MlpLayout, field_layout, grid_layout
from anerf.field.params import FieldParams, init_mlp
from anerf.field.torch_field import pad_with_ones, ray_features
from anerf.field.touched import LINE, TouchedGradient

TIGHT = 2e-6
KINK = 1e-5
SCALE = DensityScale(0.3, 5.0)
NAMES = ("rgb", "sigma", "x", "ray_features", "grid", "sigma_mlp", "color_mlp")


def layout_of(
    features: int = 4, depth: int = 2, width: int = 64, encoding: str = "spherical", color_width: int = 0
) -> FieldLayout:
    """A field whose finest levels are hashed; its highest resolution is 64."""
    return field_layout(
        grid_layout(5, features, 11, 4, 2.0), sigma_depth=depth, sigma_width=width, color_depth=depth,
        color_width=color_width or width, dir_encoding=encoding,
    )  # fmt: skip


def random_params(layout: FieldLayout, seed: int = 1) -> FieldParams:
    """A field that knows something: its table and the weights of the flight code are not small."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(layout.grid.n_params, generator=generator)
    networks = (init_mlp(mlp, generator) for mlp in (layout.sigma_mlp, layout.color_mlp))
    return FieldParams(grid, *networks).detached()


def pre_activations(x: torch.Tensor, params: torch.Tensor, layout: MlpLayout) -> list[torch.Tensor]:
    """What each ReLU of a network sees, and last its output."""
    sizes = [rows * columns for rows, columns in layout.shapes]
    matrices = [part.view(shape) for part, shape in zip(params.split(sizes), layout.shapes, strict=True)]
    seen = [pad_with_ones(x, layout.padded_in) @ matrices[0].t()]
    for matrix in matrices[1:]:
        seen.append(seen[-1].relu() @ matrix.t())
    return seen


class Batch:
    """Samples on rays, and what a loss sends back to them."""

    def __init__(self, layout: FieldLayout, n: int, seed: int = 2) -> None:
        generator = torch.Generator().manual_seed(seed)
        rays = max(1, n // 3)
        dirs = torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator), dim=1)
        code = torch.randn(rays, FLIGHT_CODE_DIM, generator=generator)
        # With 16 binary digits a position of any level is exact in float32: the twin needs no rounding.
        self.x = ((torch.rand(n, 3, generator=generator) * 2**16).round() / 2**16).requires_grad_()
        self.features = ray_features(dirs, code, layout).requires_grad_()
        self.ray_index = torch.randint(rays, (n,), generator=generator, dtype=torch.int32)
        self.d_rgb = torch.randn(n, 3, generator=generator)
        self.d_sigma = torch.randn(n, generator=generator)

    def without_kinks(self, layout: FieldLayout, params: FieldParams, scale: DensityScale) -> Self:
        """The loss forgets samples that a rounding may move over a ReLU's kink, or over the density's cap."""
        grid, sigma_mlp, color_mlp = (t.detach().double() for t in params.tensors())
        *hidden, out = pre_activations(
            encode_grid(self.x.detach().double(), grid, layout.grid), sigma_mlp, layout.sigma_mlp
        )
        inputs = torch.cat([out[:, 1:], self.features.detach().double()[self.ray_index.long()]], 1)
        hidden += pre_activations(inputs, color_mlp, layout.color_mlp)[:-1]
        kinks = torch.cat([*hidden, out[:, :1] + scale.log_bias - scale.log_cap], 1)
        steady = kinks.abs().amin(1) > KINK
        assert len(self.x) == 0 or steady.float().mean() > 0.8
        self.d_rgb *= steady[:, None]
        self.d_sigma *= steady
        return self


def ask(
    backend: FieldBackend, layout: FieldLayout, params: FieldParams, batch: Batch,
    dtype: torch.dtype = torch.float32, scale: DensityScale = SCALE,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Values and gradients by `NAMES`."""
    inputs = [batch.x, batch.features, *params.tensors()]
    x, features, *vectors = (t.detach().to(dtype).requires_grad_() for t in inputs)
    rgb, sigma = backend.query(x, features, batch.ray_index, FieldParams(*vectors), layout, scale)
    grads = torch.autograd.grad(
        (rgb, sigma), (x, features, *vectors), (batch.d_rgb.to(dtype), batch.d_sigma.to(dtype))
    )
    return dict(zip(NAMES, (rgb.detach(), sigma.detach(), *grads), strict=True))


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The difference's norm relative to what is expected; 0 where nothing is."""
    return float((got.double() - expected).norm() / expected.norm().clamp(min=1e-300))


def assert_close(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    errors = {name: error(got[name], expected[name]) for name in NAMES}
    assert max(errors.values()) < TIGHT, errors


def compare(layout: FieldLayout, n: int, scale: DensityScale = SCALE) -> dict[str, torch.Tensor]:
    """Kernels and twin agree; gives what the kernels say."""
    params = random_params(layout)
    batch = Batch(layout, n).without_kinks(layout, params, scale)
    got = ask(CpuBackend(), layout, params, batch, scale=scale)
    assert_close(got, ask(TorchBackend(), layout, params, batch, torch.float64, scale))
    return got


@pytest.mark.parametrize("n", [0, 1, 7, 128, 129, 1000])
def test_any_number_of_samples(n):
    got = compare(layout_of(), n)
    assert got["rgb"].shape == (n, 3)
    assert n < 7 or all(value.abs().max() > 0 for value in got.values())


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("encoding", ["spherical", "frequency"])
def test_any_number_of_features(features, encoding):
    compare(layout_of(features, encoding=encoding), 200)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("width", [16, 48, 64, 128])
def test_any_network(depth, width):
    compare(layout_of(2, depth, width), 150)


def test_networks_of_different_widths():
    compare(layout_of(2, 2, 32, "frequency", color_width=80), 150)


def test_padded_inputs_are_ones():
    """15 + 12 + 8 inputs: the matrix' columns 35 to 47 act as a bias and learn."""
    layout = layout_of(encoding="frequency")
    assert (layout.color_mlp.n_in, layout.color_mlp.padded_in) == (35, 48)
    first = layout.color_mlp.shapes[0]
    grad = compare(layout, 100)["color_mlp"][: first[0] * first[1]].view(first)
    assert grad[:, 35:].abs().max() > 0
    assert torch.equal(grad[:, 35:], grad[:, 35:36].expand(-1, 13))


def test_density_above_the_cap_may_fall_but_not_rise():
    scale = DensityScale(0.3, 0.5)
    layout = layout_of()
    got = compare(layout, 500, scale)
    capped = got["sigma"] >= math.exp(0.5) * (1 - 1e-6)
    assert 50 < capped.sum() < 450
    # Ones everywhere make the logarithm large everywhere.
    params = FieldParams(*(torch.ones_like(t).requires_grad_() for t in random_params(layout).tensors()))
    batch = Batch(layout, 10)
    for sign in (1.0, -1.0):
        _, sigma = CpuBackend().query(batch.x, batch.features, batch.ray_index, params, layout, scale)
        assert sigma.tolist() == pytest.approx([math.exp(0.5)] * 10)
        (grad,) = torch.autograd.grad(sigma, [params.grid], torch.full((10,), sign))
        assert bool(grad.abs().max() > 0) == (sign > 0)


@pytest.mark.parametrize("n", [0, 1, 129, 1000])
def test_density_alone_is_the_queries(n):
    layout = layout_of()
    params, batch = random_params(layout), Batch(layout, n)
    alone = CpuBackend().density(batch.x.detach(), params, layout, SCALE)
    assert torch.equal(alone, ask(CpuBackend(), layout, params, batch)["sigma"])
    doubled = FieldParams(*(t.detach().double() for t in params.tensors()))
    expected = TorchBackend().density(batch.x.detach().double(), doubled, layout, SCALE)
    assert error(alone, expected) < TIGHT


@pytest.mark.parametrize("n", [5, 9000])
def test_any_number_of_threads_gives_the_same_bits(n, threads):
    layout = layout_of(2, width=32)
    params, batch = random_params(layout), Batch(layout, n)
    threads(1)
    expected = ask(CpuBackend(), layout, params, batch)
    for n_threads in (2, 5):
        threads(n_threads)
        got = ask(CpuBackend(), layout, params, batch)
        assert [name for name in NAMES if not torch.equal(got[name], expected[name])] == []


def touched_loss(
    params: FieldParams, layout: FieldLayout, batch: Batch, scale: DensityScale = SCALE
) -> torch.Tensor:
    rgb, sigma = CpuBackend().query(batch.x, batch.features, batch.ray_index, params, layout, scale)
    return (rgb * batch.d_rgb).sum() + (sigma * batch.d_sigma).sum()


@pytest.fixture
def tracked() -> tuple[FieldLayout, FieldParams]:
    layout = layout_of()
    params = random_params(layout)
    return layout, replace(params, touched=TouchedGradient.of(params.grid))


def test_a_touched_gradient_is_the_dense_one_in_marked_lines(tracked):
    layout, params = tracked
    batch = Batch(layout, 60)
    expected = ask(CpuBackend(), layout, params, batch)
    touched_loss(params, layout, batch).backward()
    assert params.grid.grad is None
    assert torch.equal(params.touched.dense(), expected["grid"])
    assert params.touched.dense().data_ptr() != params.touched.values.data_ptr()
    assert torch.equal(params.sigma_mlp.grad, expected["sigma_mlp"])
    lines = params.touched.values.view(-1, LINE).abs().sum(1).nonzero()[:, 0]
    assert torch.equal(params.touched.lines(), lines)
    assert 0 < len(lines) < len(params.touched.marks) / 2
    params.touched.clear()
    assert not params.touched.values.any()
    assert not params.touched.marks.any()


def test_autograd_knows_nothing_of_a_touched_table(tracked):
    layout, params = tracked
    loss = touched_loss(params, layout, Batch(layout, 20))
    grads = torch.autograd.grad(loss, params.tensors(), allow_unused=True)
    assert [grad is None for grad in grads] == [True, False, False]


def test_touched_gradients_of_two_passes_add_up(tracked):
    layout, params = tracked
    first, second = Batch(layout, 40, seed=3), Batch(layout, 50, seed=4)
    expected = [ask(CpuBackend(), layout, params, batch)["grid"] for batch in (first, second)]
    for batch in (first, second):
        touched_loss(params, layout, batch).backward()
    assert error(params.touched.values, (expected[0] + expected[1]).double()) < 1e-6
    lines = (expected[0].view(-1, LINE).abs().sum(1) + expected[1].view(-1, LINE).abs().sum(1)).nonzero()[
        :, 0
    ]
    assert torch.equal(params.touched.lines(), lines)


def test_a_second_derivative_is_refused():
    layout = layout_of()
    params, batch = random_params(layout), Batch(layout, 5)
    loss = touched_loss(params, layout, batch)
    for scalar in (loss, loss**2):
        with pytest.raises(BackendError, match=r"no second derivative.*torch backend"):
            torch.autograd.grad(scalar, [params.color_mlp], create_graph=True)


def test_every_variant_says_the_same(kernel_variant):
    compare(layout_of(4, 2, 48, "frequency"), 300)

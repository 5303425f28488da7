"""What kernels must survive: wrong tensors are refused by name, wrong numbers show, nothing crashes.

`make sanitize` runs this file with kernels that check every access to memory.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.errors import BackendError
from anerf.field import cpu_field
from anerf.field.layout import FieldLayout, GridLayout, GridLevel, MlpLayout, field_layout, grid_layout
from anerf.field.native import grid_struct
from anerf.field.params import FieldParams, init_field
from anerf.field.touched import LINE, TouchedGradient
from anerf.learn.optimiser import Moments, sgd_touched, step_touched

NAN, INF = float("nan"), float("inf")
JUNK = (NAN, INF, -INF, 0.0, -0.0, 1e-40, -1e-40, 1.0, 0.5, 1e9, -1e9, 2.0**31, -(2.0**31), 1e19, 3e38, -3e38)
SEEDS = st.integers(0, 2**31)


def junk(generator: torch.Generator, *shape: int, share: float = 0.3) -> torch.Tensor:
    """Random numbers, a share of which no sane caller would send."""
    values = torch.randn(shape, generator=generator)
    wild = torch.tensor(JUNK)[torch.randint(len(JUNK), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < share, wild, values)


def layout_of(features: int = 2, depth: int = 1, width: int = 16, encoding: str = "spherical") -> FieldLayout:
    return field_layout(
        grid_layout(3, features, 6, 3, 2.0), sigma_depth=depth, sigma_width=width, color_depth=depth,
        color_width=width, dir_encoding=encoding,
    )  # fmt: skip


LAYOUT = layout_of()


def good(n: int = 6) -> dict:
    """Arguments of `cpu_field.query` that suit each other; a table that is not flat."""
    generator = torch.Generator().manual_seed(n)
    fresh = init_field(LAYOUT, generator)
    return {
        "x": torch.rand(n, 3, generator=generator),
        "ray_features": torch.randn(4, LAYOUT.color_mlp.n_in - 15, generator=generator),
        "ray_index": torch.randint(4, (n,), generator=generator, dtype=torch.int32),
        "params": FieldParams(fresh.grid * 1e4, fresh.sigma_mlp, fresh.color_mlp).detached(),
        "layout": LAYOUT,
        "log_bias": 0.1,
        "log_cap": 4.0,
    }


def query(**changes) -> tuple[torch.Tensor, torch.Tensor]:
    return cpu_field.query(**(good() | changes))


@settings(max_examples=60)
@given(
    SEEDS, st.integers(0, 300), st.sampled_from([1, 2, 4, 8]), st.integers(1, 3), st.sampled_from([16, 48])
)
def test_any_numbers_pass_through_the_field(seed, n, features, depth, width):
    generator = torch.Generator().manual_seed(seed)
    layout = layout_of(features, depth, width, "frequency" if seed % 2 else "spherical")
    share = 0.3 if seed % 3 else 0.001
    sizes = (layout.grid.n_params, layout.sigma_mlp.n_params, layout.color_mlp.n_params)
    tensors = [junk(generator, size, share=share).requires_grad_() for size in sizes]
    params = FieldParams(*tensors, touched=TouchedGradient.of(tensors[0]) if seed % 5 else None)
    x = junk(generator, n, 3).requires_grad_()
    rays = 1 + n // 4
    ray_features = junk(generator, rays, layout.color_mlp.n_in - 15, share=share).requires_grad_()
    index = torch.randint(rays, (n,), generator=generator, dtype=torch.int32)
    rgb, sigma = cpu_field.query(x, ray_features, index, params, layout, 0.1, 4.0)
    assert sigma[sigma.isfinite()].max() <= 55 if sigma.isfinite().any() else True  # exp(4) = 54.6
    assert sigma[~x.isfinite().all(1)].isnan().all()
    assert ((rgb >= 0) & (rgb <= 1) | rgb.isnan()).all()
    torch.autograd.backward((rgb, sigma), (junk(generator, n, 3), junk(generator, n)))
    assert x.grad.shape == x.shape
    cpu_field.density(x, params, layout, 0.1, 4.0)


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 80), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_any_numbers_pass_through_grid_and_network(seed, n, features, smooth):
    generator = torch.Generator().manual_seed(seed)
    grid, network = layout_of(features).grid, MlpLayout(3 * features, 5, 1 + seed % 3, 32)
    table = junk(generator, grid.n_params).requires_grad_()
    x = (junk(generator, n, 3) * 10 ** (seed % 9)).requires_grad_()
    weights = junk(generator, network.n_params).requires_grad_()
    encoded = cpu_field.encode_grid(x, table, grid, "smoothstep" if smooth else "linear")
    y = cpu_field.mlp(encoded, weights, network)
    assert y.shape == (n, 5)
    y.backward(junk(generator, n, 5))
    assert weights.grad.shape == weights.shape


def test_nothing_hides_a_number_that_is_none():
    """A table, a network or a position that has become NaN must show, through ReLU and in gradients."""
    for spoiled in range(3):
        tensors = [t.detach().clone() for t in good()["params"].tensors()]
        tensors[spoiled].fill_(NAN)
        params = FieldParams(*tensors).detached()
        rgb, sigma = query(params=params)
        assert rgb.isnan().all()
        assert sigma.isnan().all() == (spoiled < 2)
        (rgb.sum() + sigma.sum()).backward()
        assert all(t.grad.isnan().any() for t in params.tensors())
    arguments = good()
    arguments["x"][2, 1] = NAN
    rgb, sigma = query(**arguments)
    assert sigma.isnan().nonzero().tolist() == [[2]]
    assert torch.equal(rgb[3:], query()[0][3:])


def test_tensors_need_not_be_contiguous():
    arguments = good()
    params = arguments["params"]
    strided = {
        "x": torch.stack([arguments["x"]] * 2, 1)[:, 0],
        "ray_features": arguments["ray_features"].t().contiguous().t(),
        "ray_index": torch.stack([arguments["ray_index"]] * 3, 1)[:, 1],
        "params": FieldParams(*(torch.stack([t.detach()] * 2, 1)[:, 1] for t in params.tensors())),
    }
    assert not any(strided[name].is_contiguous() for name in ("x", "ray_features", "ray_index"))
    expected, got = query(), query(**strided)
    assert all(torch.equal(one, other) for one, other in zip(expected, got, strict=True))
    gradients = []
    for factor in (torch.ones(()).expand(6, 3), torch.ones(6, 3)):  # of strides 0, or contiguous
        x = good()["x"].requires_grad_()
        rgb, _ = query(x=x)
        gradients.append(torch.autograd.grad(rgb, x, factor)[0])
    assert torch.equal(*gradients)


WRONG = {
    "half positions": ({"x": torch.rand(6, 3).half()}, r"x is torch\.float16"),
    "double features": ({"ray_features": torch.rand(4, 17).double()}, r"ray_features is torch\.float64"),
    "long index": ({"ray_index": torch.zeros(6, dtype=torch.int64)}, r"ray_index is torch\.int64"),
    "another device": ({"x": torch.rand(6, 3, device="meta")}, "x is on meta"),
    "flat positions": ({"x": torch.rand(6)}, r"x has shape \(6,\) where 6 x 3"),
    "four axes": ({"x": torch.rand(6, 4)}, r"x has shape \(6, 4\)"),
    "other features": ({"ray_features": torch.rand(4, 20)}, "ray_features has shape .* where any x 17"),
    "short index": ({"ray_index": torch.zeros(5, dtype=torch.int32)}, r"ray_index has shape \(5,\) where 6"),
    "index too high": ({"ray_index": torch.tensor([0, 1, 2, 3, 4, 0]).int()}, "from 0 to 4 where 0 to 3"),
    "negative index": ({"ray_index": torch.tensor([0, -1, 2, 3, 3, 0]).int()}, "from -1 to 3"),
    "no rays": ({"ray_features": torch.rand(0, 17)}, "0 to -1 exist"),
    "narrow network": ({"layout": layout_of(1)}, "grid has shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tensors_are_refused_by_name(case):
    changes, words = WRONG[case]
    with pytest.raises(BackendError, match=words):
        query(**changes)


@pytest.mark.parametrize("name", ["grid", "sigma_mlp", "color_mlp"])
@pytest.mark.parametrize("change", ["longer", "shorter", "double", "matrix"])
def test_wrong_parameters_are_refused_by_name(name, change):
    params = good()["params"]
    tensor = getattr(params, name).detach()
    wrong = {
        "longer": torch.cat([tensor, tensor[:8]]),
        "shorter": tensor[:-8],
        "double": tensor.double(),
        "matrix": tensor.view(-1, 8),
    }[change]
    spoiled = replace(params, **{name: wrong})
    with pytest.raises(BackendError, match=f"^{name} "):
        query(params=spoiled)
    with pytest.raises(BackendError, match=f"^{name} "):
        cpu_field.density(good()["x"], spoiled, LAYOUT, 0.1, 4.0)


def wrong_gradients(n: int) -> list[tuple[TouchedGradient, str]]:
    values, marks = torch.zeros(n), torch.zeros(n // LINE, dtype=torch.uint8)
    return [
        (TouchedGradient(values[:-8].clone(), marks), r"touched\.values has shape"),
        (TouchedGradient(values.double(), marks), r"touched\.values is torch\.float64"),
        (TouchedGradient(values, marks[:-1].clone()), r"touched\.marks has shape"),
        (TouchedGradient(values, marks.int()), r"touched\.marks is torch\.int32"),
        (TouchedGradient(torch.zeros(n, 2)[:, 0], marks), r"touched\.values is not contiguous"),
        (TouchedGradient(values.to("meta"), marks), r"touched\.values is on meta"),
    ]


def test_a_gradient_that_does_not_fit_its_table_is_refused():
    params = good()["params"]
    n = LAYOUT.grid.n_params
    for touched, words in wrong_gradients(n):
        with pytest.raises(BackendError, match=words):
            query(params=replace(params, touched=touched))
        table = torch.zeros(n)
        for kind in ("sgd", "adam"):
            with pytest.raises(BackendError, match=words):
                step_touched(kind, table, touched, Moments.zeros_like(table), 0.1)
        with pytest.raises(BackendError, match=words):
            sgd_touched(table, touched, 0.1)


def test_tables_and_moments_that_cannot_be_stepped_are_refused():
    table = torch.zeros(64)
    touched, moments = TouchedGradient.of(table), Moments.zeros_like(table)
    with pytest.raises(BackendError, match="grid is not contiguous"):
        step_touched("sgd", torch.zeros(64, 2)[:, 0], touched, moments, 0.1)
    with pytest.raises(BackendError, match=r"grid is torch\.float64"):
        step_touched("adam", table.double(), touched, moments, 0.1)
    with pytest.raises(BackendError, match=r"moments\.second has shape \(56,\) where 64"):
        step_touched("adam", table, touched, Moments(table, torch.zeros(56)), 0.1)
    assert moments.steps == 0


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 40), st.sampled_from(["adam", "sgd"]))
def test_any_gradient_is_stepped_and_cleared(seed, n_lines, kind):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(n_lines * LINE, generator=generator)
    before, marks = table.clone(), torch.rand(n_lines, generator=generator) < 0.5
    touched = TouchedGradient(junk(generator, n_lines * LINE), marks.to(torch.uint8) * 255)
    step_touched(kind, table, touched, Moments.zeros_like(table), 0.1)
    assert torch.equal(table.view(-1, LINE)[~marks], before.view(-1, LINE)[~marks])
    assert not touched.values.view(-1, LINE)[marks].any()
    assert not touched.marks.any()


def test_shapes_without_a_kernel_are_refused():
    with pytest.raises(BackendError, match="1, 2, 4 or 8 features a level, not 3"):
        grid_struct(grid_layout(2, 3, 6, 3, 2.0))
    with pytest.raises(BackendError, match=r"2\^2 entries a level"):
        grid_struct(GridLayout((GridLevel(3.0, 4, 4, 0, True),), 2, 2))
    for width, depth in ((40, 2), (0, 1), (64, 0)):
        layout = MlpLayout(16, 3, depth, width)
        with pytest.raises(BackendError, match=f"{depth} hidden layers of width {width} has no kernel"):
            cpu_field.mlp(torch.rand(2, 16), torch.zeros(layout.n_params), layout)
    with pytest.raises(BackendError, match="16 outputs of the density network"):
        query(layout=replace(LAYOUT, sigma_mlp=MlpLayout(6, 8, 1, 16)))


def test_second_derivatives_are_refused():
    x = torch.rand(4, 3, requires_grad=True)
    table = torch.zeros(LAYOUT.grid.n_params)
    weights = torch.ones(LAYOUT.sigma_mlp.n_params, requires_grad=True)
    encoded = cpu_field.encode_grid(x, table, LAYOUT.grid)
    for value, wanted in (
        (encoded, x),
        (cpu_field.mlp(encoded.detach(), weights, LAYOUT.sigma_mlp), weights),
    ):
        with pytest.raises(BackendError, match="no second derivative"):
            torch.autograd.grad(value.sum(), wanted, create_graph=True)

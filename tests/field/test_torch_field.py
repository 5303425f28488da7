"""The field as a function: second derivatives, caps, codes and typed errors."""

import math

import pytest
import torch

from anerf.errors import BackendError, CheckpointError
from anerf.field.backend import DensityScale, TorchBackend, choose_backend
from anerf.field.encoding import encode_grid
from anerf.field.layout import field_layout, grid_layout
from anerf.field.params import FieldParams, check_params, flight_code, init_field
from anerf.field.torch_field import _CappedExp, density, ray_features


@pytest.fixture
def layout():
    return field_layout(
        grid_layout(2, 2, 8, 4, 2.0),
        sigma_depth=1,
        sigma_width=16,
        color_depth=1,
        color_width=16,
        dir_encoding="spherical",
    )


def test_constant_table_interpolates_to_itself(layout):
    table = torch.full((layout.grid.n_params,), 0.7)
    assert torch.allclose(encode_grid(torch.rand(50, 3), table, layout.grid), torch.tensor(0.7))


def test_first_and_second_derivatives_by_finite_differences(layout):
    params = init_field(layout, torch.Generator().manual_seed(1))
    x = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    table = (params.grid.double() * 1e3).requires_grad_()
    sigma_mlp = params.sigma_mlp.double().requires_grad_()

    def sigma(grid, network):
        return density(x, FieldParams(grid, network, params.color_mlp), layout, 0.0, 5.0)[0]

    torch.autograd.gradcheck(sigma, (table, sigma_mlp))
    torch.autograd.gradgradcheck(sigma, (table, sigma_mlp))


def test_density_cap_lets_values_fall_but_not_rise():
    v = torch.tensor([0.0, 3.0, 3.0], requires_grad=True)
    y = _CappedExp.apply(v, 2.0)
    assert y.tolist() == pytest.approx([1.0, math.exp(2), math.exp(2)])
    # A positive upstream gradient lowers the value in a descent step, a negative one raises it.
    y.backward(torch.tensor([1.0, 1.0, -1.0]))
    assert v.grad.tolist() == pytest.approx([1.0, math.exp(2), 0.0])


def test_density_scale_is_per_metre():
    scale = DensityScale.of(scale_m=50.0, cap_per_m=10.0)
    assert math.exp(scale.log_cap) / 50.0 == pytest.approx(10.0)
    assert math.exp(scale.log_bias) / 50.0 == pytest.approx(math.exp(-2))


def test_flight_codes_differ():
    codes = [tuple(flight_code(i).tolist()) for i in range(16)]
    assert codes[0] == (0.0,) * 8
    assert len(set(codes)) == 16


def features_of(dirs, flight, layout):
    return ray_features(dirs, flight_code(flight).expand(len(dirs), -1), layout)


def test_flight_code_changes_colour_but_not_density(layout):
    fresh = init_field(layout, torch.Generator().manual_seed(0))
    trained = fresh.color_mlp + 0.1 * torch.randn(len(fresh.color_mlp))
    params = FieldParams(fresh.grid, fresh.sigma_mlp, trained)
    x, dirs = torch.rand(9, 3), torch.nn.functional.normalize(torch.randn(9, 3), dim=1)
    rays = torch.arange(9, dtype=torch.int32)
    seen = [
        TorchBackend().query(x, features_of(dirs, i, layout), rays, params, layout, DensityScale.of(1, 10))
        for i in (0, 1)
    ]
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.allclose(seen[0][0], seen[1][0])


def test_a_flight_never_seen_looks_like_the_first(layout):
    params = init_field(layout, torch.Generator().manual_seed(0))
    x, dirs = torch.rand(9, 3), torch.nn.functional.normalize(torch.randn(9, 3), dim=1)
    scale = DensityScale.of(1, 10)
    rays = torch.arange(9, dtype=torch.int32)
    seen = [
        TorchBackend().query(x, features_of(dirs, i, layout), rays, params, layout, scale)[0]
        for i in (0, 1, 5)
    ]
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_wrong_length_names_the_vector(layout):
    params = init_field(layout, torch.Generator().manual_seed(0))
    short = FieldParams(params.grid[:-2], params.sigma_mlp, params.color_mlp)
    with pytest.raises(CheckpointError, match=r"shard 3: vector 'grid' has \d+ values"):
        check_params(short, layout, "shard 3")


def test_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="'vulkan' does not exist"):
        choose_backend("vulkan", torch.device("cpu"))

"""The torch twin and our own kernels against an independent float64 reading of tiny-cuda-nn's source."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from anerf.field import cpu_field, encoding, torch_field
from anerf.field.encoding import encode_grid
from anerf.field.layout import GridLayout, MlpLayout, field_layout, grid_layout
from anerf.field.params import init_field
from anerf.field.tcnn_modules import grid_config
from anerf.field.tcnn_params import (
    from_modules,
    join_network_with_encoding,
    split_network_with_encoding,
    to_modules,
)
from anerf.field.torch_field import mlp

GRIDS = (
    "grid_L16_F2_T15_b16_to512_linear",
    "grid_L16_F2_T19_b16_to2048_linear",
    "grid_L4_F2_T15_b31_x1.03_cube_at_table_linear",
    "grid_L4_F8_T14_b16_x1.5_smoothstep",
    "grid_L8_F4_T17_b16_to2048_linear",
)
MLPS = {
    "mlp_32_64_64_16_relu_none": MlpLayout(32, 16, 2),
    "mlp_32_64_64_3_relu_sigmoid": MlpLayout(32, 3, 2),
    "mlp_27_padded_64_64_3_relu_sigmoid": MlpLayout(27, 3, 2),
}


def formula_params(n: int, seed: int, amplitude: float) -> np.ndarray:
    """The vectors' parameters: a hash of the index, see the golden files' README."""
    h = np.arange(n, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
    h = (h ^ (h >> 16)) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * np.uint32(0xC2B2AE35)
    h = h ^ (h >> 16)
    return (((h >> 8).astype(np.float64) - 8388608) * (amplitude / 8388608.0)).astype(np.float32)


def load(shared_data: Path, name: str):
    return np.load(shared_data / "golden" / "public" / f"{name}.npz", allow_pickle=False)


def golden_grid(golden) -> GridLayout:
    """The layout of the file's configuration."""
    names = ("n_levels", "n_features_per_level", "log2_hashmap_size", "base_resolution")
    return grid_layout(*(int(golden[name]) for name in names), float(golden["per_level_scale"]))


def worst(tensor: torch.Tensor, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest expected value."""
    return np.abs(tensor.detach().numpy() - expected).max() / np.abs(expected).max()


@pytest.fixture(params=["torch", "cpu"])
def backend(request) -> tuple[ModuleType, ModuleType]:
    """The modules that have `encode_grid` and `mlp`: plain torch, or our own kernels."""
    return (encoding, torch_field) if request.param == "torch" else (cpu_field, cpu_field)


@pytest.mark.parametrize("name", GRIDS)
def test_grid_layout_values_and_gradients(shared_data, name, backend):
    golden = load(shared_data, name)
    layout = golden_grid(golden)
    assert [level.scale for level in layout.levels] == golden["level_scale"].tolist()
    assert [level.resolution for level in layout.levels] == golden["level_resolution"].tolist()
    assert [*(level.offset for level in layout.levels), layout.n_entries] == golden["level_offset"].tolist()
    assert [level.hashed for level in layout.levels] == golden["level_hashed"].astype(bool).tolist()

    params = torch.from_numpy(
        formula_params(layout.n_params, int(golden["param_seed"]), 0.1)
    ).requires_grad_()
    x = torch.from_numpy(golden["x"]).float().requires_grad_()
    y = backend[0].encode_grid(x, params, layout, str(golden["interpolation"]).lower())
    assert np.abs(y.detach().numpy() - golden["y"]).max() < 1e-7
    y.backward(torch.from_numpy(golden["upstream"]).float())
    expected = np.zeros(layout.n_params)
    expected[golden["grad_index"]] = golden["grad_value"]
    assert np.abs(params.grad.numpy() - expected).max() < 2e-6
    assert worst(x.grad, golden["grad_x"]) < 2e-6


@pytest.mark.parametrize("name", MLPS)
def test_mlp_values_and_gradients(shared_data, name, backend):
    golden, layout = load(shared_data, name), MLPS[name]
    params = torch.from_numpy(
        formula_params(layout.n_params, int(golden["param_seed"]), 0.25)
    ).requires_grad_()
    x = torch.from_numpy(golden["x"]).float().requires_grad_()
    y = backend[1].mlp(x, params, layout)
    if "sigmoid" in name:
        y = torch.sigmoid(y)
    assert np.abs(y.detach().numpy() - golden["y"]).max() < 1e-6
    y.backward(torch.from_numpy(golden["upstream"]).float())
    assert worst(params.grad, golden["grad_params"]) < 2e-6
    assert worst(x.grad, golden["grad_x"]) < 2e-6


def test_grid_and_network_in_a_row(shared_data, backend):
    golden = load(shared_data, "full_L16_F2_T15_to512_mlp16")
    network, grid = MlpLayout(32, 16, 2), golden_grid(golden)
    weights = formula_params(network.n_params, int(golden["network_seed"]), 0.25)
    values = formula_params(grid.n_params, int(golden["grid_seed"]), 0.1)
    params, table = torch.from_numpy(weights).requires_grad_(), torch.from_numpy(values).requires_grad_()
    x = torch.from_numpy(golden["x"]).float().requires_grad_()
    encoded = backend[0].encode_grid(x, table, grid)
    assert np.abs(encoded.detach().numpy() - golden["encoding"]).max() < 1e-7
    y = backend[1].mlp(encoded, params, network)
    assert worst(y, golden["y"]) < 2e-6
    y.backward(torch.from_numpy(golden["upstream"]).float())
    expected = np.zeros(network.n_params + grid.n_params)
    expected[golden["grad_index"]] = golden["grad_value"]
    assert worst(params.grad, golden["grad_network"]) < 2e-6
    assert worst(table.grad, expected[network.n_params :]) < 2e-6
    assert worst(x.grad, golden["grad_x"]) < 2e-6


@pytest.mark.parametrize("harmonics", [encoding, cpu_field], ids=["torch", "cpu"])
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_spherical_harmonics(shared_data, degree, harmonics):
    golden = load(shared_data, "sh_degree_1_to_4")
    dirs01 = torch.from_numpy(golden["dirs01"]).requires_grad_()
    d = dirs01 * 2 - 1
    y = harmonics.spherical_harmonics(d if harmonics is encoding else d.float(), degree)
    assert np.abs(y.detach().numpy() - golden[f"y_{degree}"]).max() < 1e-6
    upstream = torch.from_numpy(golden[f"upstream_{degree}"]).to(y.dtype)
    if degree == 1 and harmonics is encoding:
        assert not y.requires_grad  # a constant
        return
    y.backward(upstream)
    assert np.abs(dirs01.grad.numpy() - golden[f"grad_dirs01_{degree}"]).max() < 1e-5


@pytest.mark.parametrize("name", GRIDS)
def test_a_field_goes_to_tinycudann_and_back_unchanged(shared_data, name):
    layout = field_layout(
        golden_grid(load(shared_data, name)),
        sigma_depth=2,
        sigma_width=64,
        color_depth=2,
        color_width=64,
        dir_encoding="frequency",
    )
    params = init_field(layout, torch.Generator().manual_seed(1))
    vectors = to_modules(params, layout)
    assert [len(v) for v in vectors] == [layout.grid.n_params, layout.sigma_mlp.n_params, 64 * (48 + 64 + 16)]
    back = from_modules(*vectors, layout, "round trip")
    assert all(torch.equal(a, b) for a, b in zip(params.tensors(), back.tensors(), strict=True))


def test_vector_of_network_and_grid_is_split_and_joined(shared_data):
    golden = load(shared_data, "full_L16_F2_T15_to512_mlp16")
    network, grid = MlpLayout(32, 16, 2), golden_grid(golden)
    weights = formula_params(int(golden["n_network_params"]), int(golden["network_seed"]), 0.25)
    table = formula_params(int(golden["n_grid_params"]), int(golden["grid_seed"]), 0.1)
    vector = torch.from_numpy(np.concatenate([weights, table]))
    split = split_network_with_encoding(vector, network, grid, "golden")
    assert torch.equal(join_network_with_encoding(*split, network, grid), vector)
    y = mlp(encode_grid(torch.from_numpy(golden["x"]).float(), split[1], grid), split[0], network)
    assert worst(y, golden["y"]) < 2e-6


@pytest.mark.parametrize("name", GRIDS)
def test_tinycudanns_configuration_gives_the_levels_again(shared_data, name):
    golden = load(shared_data, name)
    layout = golden_grid(golden)
    config = grid_config(layout)
    assert (config["base_resolution"], config["n_levels"]) == (golden["base_resolution"], golden["n_levels"])
    assert golden_grid({**golden, "per_level_scale": config["per_level_scale"]}) == layout

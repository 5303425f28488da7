"""The torch twin against vectors from an independent float64 reading of tiny-cuda-nn's source."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anerf.field.encoding import encode_grid, spherical_harmonics
from anerf.field.layout import MlpLayout, grid_layout
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


@pytest.mark.parametrize("name", GRIDS)
def test_grid_layout_values_and_gradients(shared_data, name):
    golden = load(shared_data, name)
    layout = grid_layout(
        int(golden["n_levels"]),
        int(golden["n_features_per_level"]),
        int(golden["log2_hashmap_size"]),
        int(golden["base_resolution"]),
        float(golden["per_level_scale"]),
    )
    assert [level.scale for level in layout.levels] == golden["level_scale"].tolist()
    assert [level.resolution for level in layout.levels] == golden["level_resolution"].tolist()
    assert [*(level.offset for level in layout.levels), layout.n_entries] == golden["level_offset"].tolist()
    assert [level.hashed for level in layout.levels] == golden["level_hashed"].astype(bool).tolist()

    params = torch.from_numpy(
        formula_params(layout.n_params, int(golden["param_seed"]), 0.1)
    ).requires_grad_()
    x = torch.from_numpy(golden["x"]).float().requires_grad_()
    y = encode_grid(x, params, layout, str(golden["interpolation"]).lower())
    assert np.abs(y.detach().numpy() - golden["y"]).max() < 1e-7
    y.backward(torch.from_numpy(golden["upstream"]).float())
    expected = np.zeros(layout.n_params)
    expected[golden["grad_index"]] = golden["grad_value"]
    assert np.abs(params.grad.numpy() - expected).max() < 2e-6
    assert np.abs(x.grad.numpy() - golden["grad_x"]).max() < 2e-6 * np.abs(golden["grad_x"]).max()


@pytest.mark.parametrize("name", MLPS)
def test_mlp_values_and_gradients(shared_data, name):
    golden, layout = load(shared_data, name), MLPS[name]
    params = torch.from_numpy(
        formula_params(layout.n_params, int(golden["param_seed"]), 0.25)
    ).requires_grad_()
    x = torch.from_numpy(golden["x"]).float().requires_grad_()
    y = mlp(x, params, layout)
    if "sigmoid" in name:
        y = torch.sigmoid(y)
    assert np.abs(y.detach().numpy() - golden["y"]).max() < 1e-6
    y.backward(torch.from_numpy(golden["upstream"]).float())
    scale = np.abs(golden["grad_params"]).max()
    assert np.abs(params.grad.numpy() - golden["grad_params"]).max() < 2e-6 * scale
    assert np.abs(x.grad.numpy() - golden["grad_x"]).max() < 2e-6 * np.abs(golden["grad_x"]).max()


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_spherical_harmonics(shared_data, degree):
    golden = load(shared_data, "sh_degree_1_to_4")
    dirs01 = torch.from_numpy(golden["dirs01"]).requires_grad_()
    y = spherical_harmonics(dirs01 * 2 - 1, degree)
    assert np.abs(y.detach().numpy() - golden[f"y_{degree}"]).max() < 1e-6
    if degree == 1:
        assert not y.requires_grad  # a constant
        return
    y.backward(torch.from_numpy(golden[f"upstream_{degree}"]))
    assert np.abs(dirs01.grad.numpy() - golden[f"grad_dirs01_{degree}"]).max() < 1e-5

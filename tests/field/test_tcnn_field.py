"""The tinycudann backend: conversions, refusals, and its plumbing against a stand-in for the package."""

import importlib
import sys
from dataclasses import replace

import pytest
import torch

from anerf.errors import BackendError, CheckpointError
from anerf.field.backend import DensityScale, TorchBackend
from anerf.field.layout import MlpLayout, field_layout, grid_layout, grid_layout_from_scales, growth_between
from anerf.field.params import FieldParams, init_field
from anerf.field.tcnn_field import TcnnBackend, call_module
from anerf.field.tcnn_modules import grid_config, load_tinycudann, network_config
from anerf.field.tcnn_params import (
    from_modules,
    join_network_with_encoding,
    split_network_with_encoding,
    to_modules,
)

SCALE = DensityScale.of(50.0, 10.0)


def layout_of(grid=None, **changes):
    settings = {"sigma_depth": 2, "sigma_width": 64, "color_depth": 2, "color_width": 64, **changes}
    return field_layout(grid or grid_layout(4, 2, 10, 4, 1.7), dir_encoding="frequency", **settings)


# Conversions


def test_half_precision_vectors_become_float32_of_equal_value():
    layout = layout_of()
    halves = [t.half() for t in init_field(layout, torch.Generator().manual_seed(1)).tensors()]
    params = from_modules(*halves, layout, "half")
    for half, single in zip(halves, params.tensors(), strict=True):
        assert single.dtype == torch.float32
        assert torch.equal(single.half(), half)


def test_the_published_one_ulp_case_is_refused_by_its_lengths():
    # tiny-cuda-nn issue 148: the same code made 10526448 values on one machine and 10495120 on another.
    network, grid = MlpLayout(32, 16, 1), grid_layout(16, 2, 19, 16, growth_between(16, 512, 16))
    assert network.n_params + grid.n_params == 10526448
    with pytest.raises(CheckpointError, match=r"a\.ckpt: .* has 10495120 values .* = 10526448"):
        split_network_with_encoding(torch.zeros(10495120), network, grid, "a.ckpt")


def test_wrong_lengths_are_named():
    layout = layout_of()
    params = init_field(layout, torch.Generator().manual_seed(1))
    with pytest.raises(CheckpointError, match=r"b: vector 'sigma_mlp' has 3 values"):
        from_modules(params.grid, torch.zeros(3), params.color_mlp, layout, "b")
    with pytest.raises(CheckpointError, match=r"vector 'grid' has 8 values"):
        to_modules(FieldParams(torch.zeros(8), params.sigma_mlp, params.color_mlp), layout)
    with pytest.raises(CheckpointError, match=r"network for tinycudann has 5 values"):
        join_network_with_encoding(torch.zeros(5), params.grid, layout.sigma_mlp, layout.grid)


# Configurations


def test_scales_without_a_constant_growth_are_refused():
    with pytest.raises(BackendError, match="do not grow by a constant factor"):
        grid_config(grid_layout_from_scales([15.0, 20.0, 63.0], 2, 10))
    with pytest.raises(BackendError, match="3 features per level have no tinycudann kernel"):
        grid_config(grid_layout(2, 3, 10, 4, 2.0))
    assert grid_config(grid_layout(1, 2, 10, 4, 1.0))["base_resolution"] == 4


@pytest.mark.parametrize(
    ("width", "kind"), [(16, "FullyFusedMLP"), (128, "FullyFusedMLP"), (48, "CutlassMLP")]
)
def test_kernel_for_a_width(width, kind):
    assert network_config(MlpLayout(32, 16, 2, width)) == {
        "otype": kind,
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": 2,
    }


# Refusals


def test_without_cuda_it_says_what_torch_lacks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BackendError, match="built without CUDA: install a CUDA build of torch"):
        TcnnBackend()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(BackendError, match=r"for CUDA 13\.0 sees no device: .*nvidia-smi"):
        TcnnBackend()


def test_a_missing_package_is_named_with_the_remedy(install):
    install(missing=True)  # how Python marks a module as not importable
    with pytest.raises(BackendError, match=r"tinycudann, which is not installed:.* README"):
        load_tinycudann()


def test_another_capability_is_named_with_both_numbers(install, monkeypatch, tmp_path):
    install(missing=True)
    monkeypatch.delitem(sys.modules, "tinycudann")
    (tmp_path / "tinycudann.py").write_text("raise EnvironmentError('no compatible extension for 75')")
    (tmp_path / "tinycudann_bindings").mkdir()
    for capability in (86, 90):
        (tmp_path / "tinycudann_bindings" / f"_{capability}_C.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(
        BackendError,
        match=r"compatible extension for 75.* 86, 90, the GPUs here have 75:.*TCNN_CUDA_ARCHITECTURES=75",
    ):
        load_tinycudann()


def query(backend, layout, params, n=100, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    device = params.grid.device
    x = torch.rand(n, 3, generator=generator).to(device)
    rays = torch.randn(7, layout.color_mlp.n_in - 15, generator=generator).to(device).requires_grad_()
    index = torch.randint(7, (n,), generator=generator, dtype=torch.int32).to(device)
    rgb, sigma = backend.query(x, rays, index, params, layout, SCALE)
    # Small, as the share of one sample in a mean over a large batch is.
    loss = 1e-5 * (rgb * torch.tensor([1.0, -2.0, 3.0], device=device)).sum() + 1e-9 * sigma.sum()
    return rgb, sigma, torch.autograd.grad(loss, (*params.tensors(), rays))


def trained_params(layout):
    generator = torch.Generator().manual_seed(2)
    fresh = init_field(layout, generator)
    grid = (torch.rand(layout.grid.n_params, generator=generator) * 2 - 1) * 0.5
    return FieldParams(grid, fresh.sigma_mlp, fresh.color_mlp).detached()


def test_a_layout_of_another_size_is_refused(install):
    package = install()
    layout = layout_of()
    sized = package.Encoding
    package.Encoding = lambda n, config: sized(n, {**config, "log2_hashmap_size": 9})
    with pytest.raises(
        BackendError, match=rf"hash grid has \d+ parameters .* has {layout.grid.n_params}: this machine"
    ):
        query(TcnnBackend(), layout, trained_params(layout))


def test_a_change_of_a_level_that_keeps_the_count_is_refused(install):
    package = install()
    # Growth 2 by way of 16 -> 512 at 2^15: the level of resolution 33 is hashed, of 32 dense, both full.
    layout = layout_of(grid_layout(16, 2, 15, 16, growth_between(16, 512, 16)))
    levels = layout.grid.levels
    assert (levels[3].resolution, levels[3].hashed) == (33, True)
    sized = package.Encoding

    def lower(n, config):
        module = sized(n, config)
        module.layout = grid_layout_from_scales(
            [*(x.scale for x in levels[:3]), 31.0, *(x.scale for x in levels[4:])], 2, 15
        )
        assert module.layout.n_params == layout.grid.n_params
        return module

    package.Encoding = lower
    with pytest.raises(BackendError, match="hash grid differs from torch's by"):
        query(TcnnBackend(), layout, trained_params(layout))


def test_what_the_binding_throws_is_passed_on(install):
    package = install()

    def refuse(*_):
        raise RuntimeError("not compiled with neural network support")

    package.Network = refuse
    layout = layout_of()
    with pytest.raises(BackendError, match=r"cannot make the density network \(not compiled with"):
        query(TcnnBackend(), layout, trained_params(layout))


# Plumbing


@pytest.mark.parametrize("sigma_width", [64, 48])
def test_values_and_gradients_equal_torchs(install, sigma_width):
    package = install()
    layout = layout_of(sigma_width=sigma_width)
    params = trained_params(layout)
    backend = TcnnBackend()
    expected, found = query(TorchBackend(), layout, params), query(backend, layout, params)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    for a, b in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=float(b.abs().max()) * 1e-5)
    x = torch.rand(5, 3)
    torch.testing.assert_close(
        backend.density(x, params, layout, SCALE), TorchBackend().density(x, params, layout, SCALE)
    )
    query(TcnnBackend(), replace(layout), params)
    assert len(package.made) == 3  # once a process, for equal layouts


def test_small_gradients_survive_half_precision(install):
    install(dtype=torch.float16)
    layout = layout_of()
    params = trained_params(layout)
    expected, found = query(TorchBackend(), layout, params), query(TcnnBackend(), layout, params)
    assert (found[0] - expected[0]).abs().max() < 0.01
    for a, b in zip(found[2], expected[2], strict=True):
        assert a.dtype == torch.float32
        assert torch.linalg.vector_norm(a - b) < 0.005 * torch.linalg.vector_norm(b)


def test_no_samples_give_no_values_and_zero_gradients(install):
    install()
    layout = layout_of()
    rgb, sigma, grads = query(TcnnBackend(), layout, trained_params(layout), n=0)
    assert rgb.shape == (0, 3)
    assert sigma.shape == (0,)
    assert all(not grad.any() for grad in grads)


class Square(torch.nn.Module):
    """A module with as many derivatives as one likes."""

    def __init__(self):
        super().__init__()
        self.params = torch.nn.Parameter(torch.zeros(0))

    def forward(self, x):
        return x * self.params**2


def test_a_second_derivative_is_refused():
    params = torch.tensor([3.0, 1e-9], requires_grad=True)
    y = call_module(Square(), torch.ones(1, 2), params)
    (grad,) = torch.autograd.grad(y.square().sum(), params, create_graph=True)
    assert grad.tolist() == pytest.approx([4 * 27.0, 0.0])
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.gpu
@pytest.mark.parametrize("sigma_width", [64, 48])
def test_the_real_package_agrees_with_torch(sigma_width):
    try:
        backend = TcnnBackend()
    except BackendError as error:
        pytest.skip(str(error))
    layout = layout_of(grid_layout(16, 2, 19, 16, growth_between(16, 2048, 16)), sigma_width=sigma_width)
    params = trained_params(layout).to(torch.device("cuda")).detached()
    expected, found = query(TorchBackend(), layout, params, 5000), query(backend, layout, params, 5000)
    assert (found[0] - expected[0]).abs().max() < 0.02
    assert ((found[1] - expected[1]) / expected[1]).abs().max() < 0.05
    for a, b in zip(found[2], expected[2], strict=True):
        assert torch.linalg.vector_norm(a - b) < 0.05 * torch.linalg.vector_norm(b)
    assert query(backend, layout, params, n=0)[0].shape == (0, 3)

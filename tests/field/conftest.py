"""A stand-in for the package tinycudann that computes with the torch twin, on the CPU.

It has the binding's public face (`Encoding`, `Network`, `params`, `loss_scale`, half precision out of half
precision parameters), as far as `anerf.field.tcnn_field` uses it. The real package asks for a GPU on import.
"""

import sys
from types import ModuleType

import pytest
import torch

from anerf.field import tcnn_modules
from anerf.field.encoding import encode_grid
from anerf.field.layout import MlpLayout, grid_layout
from anerf.field.torch_field import mlp


def stand_in(dtype: torch.dtype = torch.float32, granularity: int = 256) -> ModuleType:
    """The module; `made` lists what was asked of it. `granularity` is the batch size the kernels take."""
    package = ModuleType("tinycudann")
    made: list[torch.nn.Module] = []

    class Module(torch.nn.Module):
        def __init__(self, n_params: int) -> None:
            super().__init__()
            self.params = torch.nn.Parameter(torch.zeros(n_params))
            self.loss_scale = 128.0
            made.append(self)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert len(x) > 0, "cutlass: Error Internal"
            assert x.dtype == torch.float32
            padded = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % granularity))
            params = self.params.to(dtype)
            return _Native.apply(self, padded, params, self.loss_scale)[: len(x)]

    class _Native(torch.autograd.Function):
        """As the binding does it: the loss scale is applied in the kernels' own precision."""

        @staticmethod
        def forward(ctx, module, x, params, loss_scale):
            ctx.module, ctx.loss_scale = module, loss_scale
            ctx.save_for_backward(x, params)
            return module.compute(x, params.float()).to(dtype)

        @staticmethod
        def backward(ctx, upstream):
            x, params = (t.detach().requires_grad_() for t in ctx.saved_tensors)
            with torch.enable_grad():
                y = ctx.module.compute(x, params.float())
            scaled = (upstream * ctx.loss_scale).float()
            grad_x, grad_params = torch.autograd.grad(y, (x, params), scaled)
            return None, grad_x / ctx.loss_scale, grad_params / ctx.loss_scale, None

    class Encoding(Module):
        def __init__(self, n_input_dims, encoding_config):
            assert n_input_dims == 3
            assert encoding_config["otype"] == "HashGrid"
            assert encoding_config["interpolation"] == "Linear"
            self.layout = grid_layout(
                encoding_config["n_levels"],
                encoding_config["n_features_per_level"],
                encoding_config["log2_hashmap_size"],
                encoding_config["base_resolution"],
                encoding_config["per_level_scale"],
            )
            super().__init__(self.layout.n_params)

        def compute(self, x, params):
            return encode_grid(x, params, self.layout)

    class Network(Module):
        def __init__(self, n_input_dims, n_output_dims, network_config):
            self.config = network_config
            assert network_config["activation"] == "ReLU"
            assert network_config["output_activation"] == "None"
            self.layout = MlpLayout(
                n_input_dims, n_output_dims, network_config["n_hidden_layers"], network_config["n_neurons"]
            )
            super().__init__(self.layout.n_params)

        def compute(self, x, params):
            return mlp(x, params, self.layout)

    package.Encoding, package.Network, package.made = Encoding, Network, made
    return package


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in where the package is looked for, as if torch had a CUDA device."""

    def put(dtype: torch.dtype = torch.float32, missing: bool = False) -> ModuleType | None:
        package = None if missing else stand_in(dtype)  # None is how Python marks what cannot be imported
        monkeypatch.setitem(sys.modules, "tinycudann", package)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        return package

    tcnn_modules.field_modules.cache_clear()
    yield put
    tcnn_modules.field_modules.cache_clear()

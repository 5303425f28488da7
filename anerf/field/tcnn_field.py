"""The radiance field on tinycudann's CUDA kernels: half precision inside, our float32 vectors outside.

First derivatives only. Source: NVlabs/tiny-cuda-nn, `bindings/torch/tinycudann/modules.py`.
"""

import threading

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from anerf.field import torch_field
from anerf.field.backend import DensityScale
from anerf.field.layout import FieldLayout, MlpLayout
from anerf.field.params import FieldParams
from anerf.field.tcnn_modules import FieldModules, field_modules, load_tinycudann
from anerf.field.torch_field import capped_exp, pad_with_ones

# The magnitudes of all samples' gradients are brought to a sum below 2^8 before they go through the kernels
# in half precision (2^-24 to 65504): room above for what activations and weights multiply, and below for
# samples that matter little.
_GRADIENT_EXPONENT = 8

# `functional_call` lends the module our parameters for the time of the call: one thread at a time.
_lending = threading.Lock()


class _Gain:
    """The factor, a power of two, by which gradients are larger inside a call than outside."""

    factor: Tensor


class _Enter(torch.autograd.Function):
    """The identity; takes the gain off the gradient."""

    @staticmethod
    def forward(ctx, value: Tensor, gain: _Gain) -> Tensor:  # type: ignore[override]
        ctx.gain = gain
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):  # type: ignore[override]
        return upstream / ctx.gain.factor, None


class _Leave(torch.autograd.Function):
    """Half precision to float32; puts the gain on the gradient before it becomes half precision.

    A mean over thousands of rays gives single samples gradients around 1e-7, which half precision rounds to
    zero; the binding's own factor of 128 comes only after that rounding.
    """

    @staticmethod
    def forward(ctx, value: Tensor, gain: _Gain) -> Tensor:  # type: ignore[override]
        ctx.gain, ctx.dtype = gain, value.dtype
        return value.to(torch.float32, copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):  # type: ignore[override]
        _, exponent = torch.frexp(upstream.abs().sum().clamp(min=1e-30))
        ctx.gain.factor = torch.ldexp(
            torch.ones_like(exponent, dtype=torch.float32), _GRADIENT_EXPONENT - exponent
        )
        return (upstream * ctx.gain.factor).to(ctx.dtype), None


def call_module(
    module: torch.nn.Module, x: Float[Tensor, "n i"], params: Float[Tensor, " p"]
) -> Float[Tensor, "n o"]:
    """A tinycudann module as a function of its parameters; gradients flow to both arguments."""
    # The kernels fail on an empty batch (tiny-cuda-nn issue 275): it gets a row, which is cut off again.
    rows = x if len(x) else torch.nn.functional.pad(x, (0, 0, 0, 1))
    gain = _Gain()
    with _lending, torch.cuda.device_of(params):
        y = torch.func.functional_call(
            module, {"params": _Enter.apply(params, gain)}, (_Enter.apply(rows, gain),)
        )
    return _Leave.apply(y, gain)[: len(x)]


class TcnnBackend:
    """tinycudann on CUDA; see `FieldBackend`. Half precision sets its values about 1e-3 off torch's.

    Raises:
        BackendError: at once, if tinycudann cannot be used here; at the first query of a layout, if it would
            compute another field than that layout's.
    """

    name = "tcnn"

    def __init__(self) -> None:
        load_tinycudann()

    def ray_features(
        self, dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
    ) -> Float[Tensor, "r w"]:
        """See `FieldBackend.ray_features`; rays are few, so torch does it."""
        return torch_field.ray_features(dirs, code, layout)

    def background(
        self, dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
    ) -> Float[Tensor, "r 3"]:
        """See `FieldBackend.background`; done by torch."""
        return torch_field.background(dirs, params, layout)

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """See `FieldBackend.density`."""
        return _density(_modules(params, layout), x, params, layout, scale)[0]

    def query(
        self,
        x: Float[Tensor, "n 3"],
        ray_features: Float[Tensor, "r w"],
        ray_index: Int32[Tensor, " n"],
        params: FieldParams,
        layout: FieldLayout,
        scale: DensityScale,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """See `FieldBackend.query`."""
        modules = _modules(params, layout)
        sigma, geometry = _density(modules, x, params, layout, scale)
        inputs = torch.cat([geometry, ray_features.index_select(0, ray_index)], dim=1)
        padded = pad_with_ones(inputs, layout.color_mlp.padded_in)
        logits = call_module(modules.color_network, padded, params.color_mlp)
        return torch.sigmoid(logits[:, : layout.color_mlp.n_out]), sigma


def _modules(params: FieldParams, layout: FieldLayout) -> FieldModules:
    with torch.cuda.device_of(params.grid):  # the binding makes its modules on the current device
        return field_modules(layout, params.grid.device)


def _density(
    modules: FieldModules,
    x: Float[Tensor, "n 3"],
    params: FieldParams,
    layout: FieldLayout,
    scale: DensityScale,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n g"]]:
    features = call_module(modules.encoding, x, params.grid)[:, : layout.grid.n_output]
    padded = pad_with_ones(features, layout.sigma_mlp.padded_in)
    hidden = call_module(modules.sigma_network, padded, params.sigma_mlp)[:, : layout.sigma_mlp.n_out]
    return capped_exp(hidden[:, 0] + scale.log_bias, scale.log_cap), hidden[:, 1:]

"""The radiance field in plain torch: `field(x, dirs, params) -> rgb, sigma`, twice differentiable."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from anerf.field.encoding import encode_grid, frequencies, spherical_harmonics
from anerf.field.layout import BACKGROUND_SH_DEGREE, SH_DEGREE, FieldLayout, MlpLayout
from anerf.field.params import FieldParams


def pad_with_ones(x: Float[Tensor, "n i"], width: int) -> Float[Tensor, "n w"]:
    """The inputs as a network's padded first matrix sees them: ones in the columns that are missing."""
    if x.shape[1] == width:
        return x
    return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=1.0)


def mlp(x: Float[Tensor, "n i"], params: Float[Tensor, " p"], layout: MlpLayout) -> Float[Tensor, "n o"]:
    """Apply the perceptron; missing input columns are ones, padded outputs are cut off. ReLU'(0) = 0."""
    x = pad_with_ones(x, layout.padded_in)
    start = 0
    last = len(layout.shapes) - 1
    for i, (rows, columns) in enumerate(layout.shapes):
        matrix = params[start : start + rows * columns].view(rows, columns)
        start += rows * columns
        if i == last:
            return x @ matrix[: layout.n_out].t()
        x = torch.relu(x @ matrix.t())
    raise AssertionError("an MLP has at least two matrices")


class _CappedExp(torch.autograd.Function):
    """`exp(min(v, cap))` whose gradient never pushes a value above the cap further up.

    The gradient's factor is clamped like tiny-cuda-nn's truncated exponential, so that one opaque sample
    cannot throw the table away.
    """

    @staticmethod
    def forward(ctx, v: Tensor, cap: float) -> Tensor:  # type: ignore[override]
        y = v.clamp(max=cap).exp()
        ctx.save_for_backward(v, y)
        ctx.cap = cap
        return y

    @staticmethod
    def backward(ctx, upstream: Tensor):  # type: ignore[override]
        v, _ = ctx.saved_tensors
        slope = v.clamp(max=ctx.cap).exp()
        rising = (v > ctx.cap) & (upstream < 0)
        return torch.where(rising, torch.zeros_like(upstream), upstream * slope), None


def capped_exp(v: Float[Tensor, " n"], cap: float) -> Float[Tensor, " n"]:
    """Density from its logarithm: `exp(min(v, cap))` with the clamped gradient of `_CappedExp`."""
    return _CappedExp.apply(v, cap)


def encode_directions(dirs: Float[Tensor, "n 3"], dir_encoding: str) -> Float[Tensor, "n d"]:
    """The direction as the colour network sees it."""
    if dir_encoding == "spherical":
        return spherical_harmonics(dirs, SH_DEGREE)
    return frequencies(dirs)


def density(
    x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, log_bias: float, log_cap: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n g"]]:
    """Density (per learning unit) and geometry features at positions of the expert's unit cube."""
    features = encode_grid(x, params.grid, layout.grid)
    hidden = mlp(features, params.sigma_mlp, layout.sigma_mlp)
    return capped_exp(hidden[:, 0] + log_bias, log_cap), hidden[:, 1:]


def background(
    dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
) -> Float[Tensor, "r 3"]:
    """Colour in [0, 1] of what lies beyond the box: a small network over the direction alone."""
    return torch.sigmoid(mlp(spherical_harmonics(dirs, BACKGROUND_SH_DEGREE), params, layout))


def ray_features(
    dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
) -> Float[Tensor, "r w"]:
    """What the colour network learns of a ray: its encoded direction, then its flight code."""
    return torch.cat([encode_directions(dirs, layout.dir_encoding), code], dim=1)


def color(
    geometry: Float[Tensor, "n g"],
    features: Float[Tensor, "r w"],
    ray_index: Int32[Tensor, " n"],
    params: FieldParams,
    layout: FieldLayout,
) -> Float[Tensor, "n 3"]:
    """Colour in [0, 1] from geometry features and from the `ray_features` of each sample's ray."""
    inputs = torch.cat([geometry, features.index_select(0, ray_index)], dim=1)
    return torch.sigmoid(mlp(inputs, params.color_mlp, layout.color_mlp))

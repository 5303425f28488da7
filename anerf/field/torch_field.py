"""The radiance field in plain torch: `field(x, dirs, params) -> rgb, sigma`, twice differentiable."""

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.encoding import encode_grid, frequencies, spherical_harmonics
from anerf.field.layout import SH_DEGREE, FieldLayout, MlpLayout
from anerf.field.params import FieldParams


def mlp(x: Float[Tensor, "n i"], params: Float[Tensor, " p"], layout: MlpLayout) -> Float[Tensor, "n o"]:
    """Apply the perceptron; missing input columns are ones, padded outputs are cut off. ReLU'(0) = 0."""
    if x.shape[1] < layout.padded_in:
        x = torch.nn.functional.pad(x, (0, layout.padded_in - x.shape[1]), value=1.0)
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
    return _CappedExp.apply(hidden[:, 0] + log_bias, log_cap), hidden[:, 1:]


def color(
    geometry: Float[Tensor, "n g"],
    dirs: Float[Tensor, "n 3"],
    code: Float[Tensor, "n k"],
    params: FieldParams,
    layout: FieldLayout,
) -> Float[Tensor, "n 3"]:
    """Colour in [0, 1] from geometry features, viewing direction and flight code."""
    inputs = torch.cat([geometry, encode_directions(dirs, layout.dir_encoding), code], dim=1)
    return torch.sigmoid(mlp(inputs, params.color_mlp, layout.color_mlp))

"""Hash grid and direction encodings in torch: the numerical twin of every faster kernel.

Differentiable twice in the parameters (MAML needs it) and in the positions.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.field.layout import N_FREQUENCIES, GridLayout, GridLevel

_PRIMES = (1, -1640531535, 805459861)  # 1, 2654435761, 805459861 as wrapping int32


class _WeightedRows(torch.autograd.Function):
    """`out[n] = sum_k weight[n, k] * table[index[n, k]]`.

    Forward is one fused embedding bag, backward one `index_add`: 20 times faster on a CPU than the bag's
    own backward. Backward is made of differentiable operations, so a second derivative exists.
    """

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(table, index, weight)
        return torch.nn.functional.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    def backward(ctx, upstream: Tensor):  # type: ignore[override]
        table, index, weight = ctx.saved_tensors
        grad_table = grad_weight = None
        if ctx.needs_input_grad[0]:
            rows = (upstream[:, None] * weight[..., None]).reshape(-1, upstream.shape[1])
            grad_table = torch.zeros_like(table).index_add(0, index.reshape(-1), rows)
        if ctx.needs_input_grad[2]:
            grad_weight = (table[index] * upstream[:, None]).sum(-1)
        return grad_table, None, grad_weight


def lattice_position(x: Float[Tensor, "n 3"], scale: float) -> Float[Tensor, "n 3"]:
    """`fma(scale, x, 0.5)`, rounded once in float32 as the GPU does, or plain in float64."""
    if x.dtype == torch.float32:
        return (x.double() * scale + 0.5).float()
    return x * scale + 0.5


def corner_index(cell: Int[Tensor, "3 n"], level: GridLevel) -> Int[Tensor, "n 8"]:
    """Table rows of a cell's eight corners, x fastest: dense or XOR-hashed, then modulo the level's entries.

    Corners outside the lattice wrap; negative cells are two's complement, as in the source.
    """
    if level.hashed:
        primes = torch.tensor(_PRIMES, dtype=torch.int32, device=cell.device)[:, None]
    else:
        r = level.resolution
        primes = torch.tensor((1, r, r * r), dtype=torch.int32, device=cell.device)[:, None]
    low = cell * primes
    x, y, z = torch.stack([low, low + primes], dim=1)
    if level.hashed:
        index = x[None, None] ^ y[None, :, None] ^ z[:, None, None]
    else:
        index = x[None, None] + y[None, :, None] + z[:, None, None]
    index = index.view(8, -1).t()
    if level.entries & (level.entries - 1) == 0:
        return index.bitwise_and(level.entries - 1).long()
    return index.long().bitwise_and(0xFFFFFFFF).remainder(level.entries)


def encode_grid(
    x: Float[Tensor, "n 3"],
    table: Float[Tensor, " p"],
    layout: GridLayout,
    interpolation: str = "linear",
) -> Float[Tensor, "n f"]:
    """Interpolate the table's features at positions of the unit cube (L x F values per position)."""
    indices, weights = [], []
    for level in layout.levels:
        position = lattice_position(x, level.scale).t()
        floor = position.detach().floor()
        fraction = position - floor
        if interpolation == "smoothstep":
            fraction = fraction * fraction * (3 - 2 * fraction)
        wx, wy, wz = torch.stack([1 - fraction, fraction], dim=1)
        weight = wx[None, None] * (wy[None, :, None] * wz[:, None, None])
        weights.append(weight.view(8, -1).t())
        indices.append(corner_index(floor.to(torch.int32), level) + level.offset)
    # All levels in one gather: one gradient of the table's size instead of one for each level.
    rows = table.view(-1, layout.n_features)
    features = _WeightedRows.apply(rows, torch.cat(indices), torch.cat(weights))
    by_level = features.view(len(layout.levels), -1, layout.n_features)
    return by_level.permute(1, 0, 2).reshape(x.shape[0], -1)


def spherical_harmonics(d: Float[Tensor, "n 3"], degree: int) -> Float[Tensor, "n s"]:
    """Real spherical harmonics up to `degree` (1 to 4): degree^2 values, with the sign (-1)^m.

    `d` is a direction in [-1, 1] (tiny-cuda-nn takes (d + 1) / 2 and maps it back), not normalised here.
    """
    x, y, z = d.unbind(-1)
    values = [torch.full_like(x, 0.28209479177387814)]
    if degree > 1:
        values += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
    if degree > 2:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.94617469575755997 * z * z - 0.31539156525251999,
            -1.0925484305920792 * x * z,
            0.54627421529603959 * (x * x - y * y),
        ]
    if degree > 3:
        values += [
            0.59004358992664352 * y * (-3.0 * x * x + y * y),
            2.8906114426405538 * x * y * z,
            0.45704579946446572 * y * (1.0 - 5.0 * z * z),
            0.3731763325901154 * z * (5.0 * z * z - 3.0),
            0.45704579946446572 * x * (1.0 - 5.0 * z * z),
            1.4453057213202769 * z * (x * x - y * y),
            0.59004358992664352 * x * (-x * x + 3.0 * y * y),
        ]
    return torch.stack(values, dim=-1)


def frequencies(d: Float[Tensor, "n 3"]) -> Float[Tensor, "n f"]:
    """Sines and cosines of `pi * 2^k * d`, k below `N_FREQUENCIES` (Mildenhall et al. 2020, eq. 4)."""
    octaves = torch.pi * 2.0 ** torch.arange(N_FREQUENCIES, dtype=d.dtype, device=d.device)
    angles = (d[..., None] * octaves).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)

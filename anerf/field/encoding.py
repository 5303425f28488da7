"""Hash grid and direction encodings in torch: the numerical twin of every faster kernel.

Differentiable twice in the parameters (MAML needs it) and in the positions.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.field.layout import N_FREQUENCIES, GridLayout, GridLevel

_PRIMES = (1, -1640531535, 805459861)  # 1, 2654435761, 805459861 as wrapping int32


class _WeightedRows(torch.autograd.Function):
    """For each level l: `out_l[n] = sum_k weight_l[n, k] * table_l[index_l[n, k]]`, levels side by side.

    Forward is one fused embedding bag a level, backward one `index_add` a level into a single gradient of
    the table's size: 20 times faster on a CPU than the bag's own backward. Backward is made of
    differentiable operations, so a second derivative exists.
    """

    @staticmethod
    def forward(ctx, table: Tensor, levels: tuple[GridLevel, ...], *corners: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(table, *corners)
        ctx.levels = levels
        index, weight = corners[: len(levels)], corners[len(levels) :]
        features = [
            torch.nn.functional.embedding_bag(i, _rows(table, level), per_sample_weights=w, mode="sum")
            for level, i, w in zip(levels, index, weight, strict=True)
        ]
        return torch.cat(features, dim=1)

    @staticmethod
    def backward(ctx, upstream: Tensor):  # type: ignore[override]
        table, *corners = ctx.saved_tensors
        levels, n = ctx.levels, len(ctx.levels)
        by_level = upstream.split(table.shape[1], dim=1)
        grad_table = torch.zeros_like(table) if ctx.needs_input_grad[0] else None
        grad_weights: list[Tensor | None] = [None] * n
        for i, level in enumerate(levels):
            index, weight, grad = corners[i], corners[n + i], by_level[i]
            if grad_table is not None:
                rows = (grad[:, None] * weight[..., None]).reshape(-1, table.shape[1])
                _rows(grad_table, level).index_add_(0, index.reshape(-1), rows)
            if ctx.needs_input_grad[2 + n + i]:
                grad_weights[i] = (_rows(table, level)[index] * grad[:, None]).sum(-1)
        return grad_table, None, *[None] * n, *grad_weights


def _rows(table: Float[Tensor, "e f"], level: GridLevel) -> Float[Tensor, "l f"]:
    return table[level.offset : level.offset + level.entries]


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
        return index.bitwise_and(level.entries - 1).long().contiguous()
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
        weights.append(weight.view(8, -1).t().contiguous())
        indices.append(corner_index(floor.to(torch.int32), level))
    rows = table.view(-1, layout.n_features)
    return _WeightedRows.apply(rows, layout.levels, *indices, *weights)


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

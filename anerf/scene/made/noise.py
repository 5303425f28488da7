"""Smooth value noise on the plane, faded where a pixel is too coarse to show it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_SIDE = 256


def _corner_table() -> Tensor:
    """(side * side, 4): the values at the corners of every lattice cell; one gather fetches a cell."""
    values = np.random.default_rng(20240229).uniform(-1.0, 1.0, (_SIDE, _SIDE)).astype(np.float32)
    right, up = np.roll(values, -1, axis=1), np.roll(values, -1, axis=0)
    corners = np.stack([values, right, up, np.roll(right, -1, axis=0)], axis=-1)
    return torch.from_numpy(corners.reshape(-1, 4))


_CORNERS = _corner_table()


def value_noise(u: Float[Tensor, "*n"], v: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Noise in [-1, 1] with wavelength about two lattice steps; repeats every 256 steps."""
    cell_u, cell_v = torch.floor(u), torch.floor(v)
    fu, fv = u - cell_u, v - cell_v
    fu, fv = fu * fu * (3.0 - 2.0 * fu), fv * fv * (3.0 - 2.0 * fv)
    index = (cell_v.int() & (_SIDE - 1)) * _SIDE + (cell_u.int() & (_SIDE - 1))
    a, b, c, d = _CORNERS.index_select(0, index.reshape(-1)).reshape(*index.shape, 4).unbind(-1)
    low, high = torch.lerp(a, b, fu), torch.lerp(c, d, fu)
    return torch.lerp(low, high, fv)


def seen(feature_m: float, footprint_m: Tensor) -> Tensor:
    """How much of a pattern of this size survives a pixel footprint: 1 when large, 0 below the pixel."""
    return ((feature_m / footprint_m - 1.0) / 1.5).clamp(0.0, 1.0)


def fbm(
    u_m: Float[Tensor, "*n"],
    v_m: Float[Tensor, "*n"],
    cells_m: Sequence[float],
    footprint_m: Float[Tensor, "*n"],
) -> Float[Tensor, "*n"]:
    """Sum of noises with lattice steps `cells_m` (coarse to fine), each weaker by 0.7, the finest faded."""
    total = torch.zeros_like(u_m)
    finest_m = float(footprint_m.min()) if footprint_m.numel() else 0.0
    for octave, cell_m in enumerate(cells_m):
        if cell_m <= finest_m:
            break
        shift = 17.3 * (octave + 1)  # octaves must not share lattice corners
        layer = value_noise(u_m / cell_m + shift, v_m / cell_m - 0.7 * shift)
        total = total + (0.7**octave) * seen(cell_m, footprint_m) * layer
    return total


def cell_hash(a: Tensor, b: Tensor, seed: Tensor | float = 0.0) -> Tensor:
    """A number in [0, 1) for integer-valued cells `a`, `b`: the same cell always answers the same."""
    mixed = (
        (a.long() * 73856093) ^ (b.long() * 19349663) ^ (torch.as_tensor(seed).mul(977.0).long() * 83492791)
    )
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF).float() / 65536.0

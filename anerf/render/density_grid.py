"""A coarse running estimate of an expert's density: where samples are worth taking."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

INITIAL_SHARE = 0.2
UPDATE_RATE = 0.05


@dataclass(frozen=True)
class DensityGrid:
    """Cells over an expert's box in the learning frame; values are densities per learning unit.

    `values` (nz, ny, nx) is updated in place; -1 marks cells outside the height bounds, where nothing can be.
    """

    lo: Float[Tensor, " 3"]
    hi: Float[Tensor, " 3"]
    values: Float[Tensor, "nz ny nx"]

    def to(self, device: torch.device) -> "DensityGrid":
        """The same grid on another device."""
        return DensityGrid(self.lo.to(device), self.hi.to(device), self.values.to(device))

    def cells(self, x: Float[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
        """Flat cell index of positions, clamped to the box."""
        nz, ny, nx = self.values.shape
        n = torch.tensor([nx, ny, nz], device=x.device)
        cell = ((x - self.lo) / (self.hi - self.lo) * n).long()
        cell = torch.minimum(cell.clamp(min=0), n - 1)
        return (cell[..., 2] * ny + cell[..., 1]) * nx + cell[..., 0]

    def lookup(self, x: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Density and whether anything may be there."""
        value = self.values.view(-1)[self.cells(x)]
        return value.clamp(min=0), value >= 0


def new_density_grid(
    lo: Float[Tensor, " 3"],
    hi: Float[Tensor, " 3"],
    shape: tuple[int, int, int],
    sigma_initial: float,
) -> DensityGrid:
    """A grid (nz, ny, nx) that believes a little haze to be everywhere."""
    return DensityGrid(lo, hi, torch.full(shape, sigma_initial * INITIAL_SHARE))


def forbid_outside(grid: DensityGrid, low: Float[Tensor, "ny nx"], high: Float[Tensor, "ny nx"]) -> None:
    """Mark cells that lie entirely below `low` or above `high` (learning frame, one value a column)."""
    nz = grid.values.shape[0]
    edges = torch.linspace(0, 1, nz + 1)
    z = grid.lo[2] + edges * (grid.hi[2] - grid.lo[2])
    outside = (z[1:, None, None] < low) | (z[:-1, None, None] > high)
    grid.values[outside] = -1.0

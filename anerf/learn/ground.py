"""What a first look at a flight finds: cells of ground, and how wrong the old model is about each.

Old rays are not replayed where the new pictures contradict the old model (there the old pictures are stale),
and new ones are drawn more often where the model errs.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

STALE_CELL_M = 4.0
STALE_RATIO = 8.0
MIN_PROBES = 6
FOCUS_LIMIT = 10.0  # of the mean error: beyond it a tile is not drawn more often


@dataclass(frozen=True)
class GroundCells:
    """Square cells over the ground (ENU metres): `lo` is the low corner, `shape` (ny, nx)."""

    lo: Float[Tensor, " 2"]
    shape: tuple[int, int]

    @staticmethod
    def over(xy: Float[Tensor, "n 2"]) -> "GroundCells":
        """Cells of `STALE_CELL_M` that hold all positions."""
        n = ((xy.amax(0) - xy.amin(0)) / STALE_CELL_M).long() + 1
        return GroundCells(xy.amin(0), (int(n[1]), int(n[0])))

    def index(self, xy: Float[Tensor, "n 2"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Flat cell of each position and whether it lies inside."""
        cell = ((xy - self.lo) / STALE_CELL_M).floor().long()
        ny, nx = self.shape
        inside = (cell >= 0).all(1) & (cell[:, 0] < nx) & (cell[:, 1] < ny)
        return (cell[:, 1] * nx + cell[:, 0]).clamp(0, ny * nx - 1), inside


def cell_means(
    cells: GroundCells, xy: Float[Tensor, "n 2"], errors: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " cells"], Float[Tensor, " cells"]]:
    """Mean error of each cell (0 without probes) and its number of probes."""
    number, _ = cells.index(xy)
    size = cells.shape[0] * cells.shape[1]
    count = torch.zeros(size).index_add_(0, number, torch.ones_like(errors))
    return torch.zeros(size).index_add_(0, number, errors) / count.clamp(min=1), count


def stale_ground(
    cells: GroundCells, xy: Float[Tensor, "n 2"], errors: Float[Tensor, " n"]
) -> Bool[Tensor, " cells"]:
    """Cells where the mean error of new rays exceeds `STALE_RATIO` x the median cell's, and neighbours."""
    mean, count = cell_means(cells, xy, errors)
    known = count >= MIN_PROBES
    if not known.any():
        return torch.zeros_like(known)
    stale = known & (mean > STALE_RATIO * mean[known].median())
    grown = torch.nn.functional.max_pool2d(stale.view(1, 1, *cells.shape).float(), 3, stride=1, padding=1)
    return grown.view(-1) > 0


def drawn_shares(
    cells: GroundCells, xy: Float[Tensor, "n 2"], errors: Float[Tensor, " n"], tile_xy: Float[Tensor, "t 2"]
) -> Float[Tensor, " t"]:
    """How often each tile should be drawn, in proportion to the errors of probes in its cell; sums to 1.

    Args:
        cells: the ground.
        xy: where probes meet it.
        errors: squared colour errors of probes.
        tile_xy: where tiles do; those in cells without probes count as the mean.
    """
    mean, count = cell_means(cells, xy, errors)
    overall = errors.mean().clamp(min=1e-12)
    mean = torch.where(count > 0, mean, overall).clamp(max=FOCUS_LIMIT * overall)
    number, inside = cells.index(tile_xy)
    share = torch.where(inside, mean[number], overall).clamp(min=1e-12)
    return share / share.sum()

"""What is believed about density beforehand: it decides where along a ray the field is asked."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anerf.geometry.boxes import Aabb
from anerf.partition.routing import nearest_centroid
from anerf.render.density_grid import DensityGrid


@dataclass(frozen=True)
class Guide:
    """The density grids of one or all experts, inside a box (learning frame).

    Each position is the matter of the expert whose centroid is nearest (in `dims` dimensions); with `only`,
    space that belongs to others is closed.
    """

    box: Aabb
    grids: tuple[DensityGrid, ...]
    centroids: Float[Tensor, "e 3"]
    dims: int = 2
    only: int | None = None

    @staticmethod
    def of_expert(box: Aabb, grid: DensityGrid) -> "Guide":
        """One expert that answers for its whole box."""
        return Guide(box, (grid,), grid.lo.new_zeros(1, 3))

    def lookup(self, x: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Density at positions, and whether anything may be there."""
        if len(self.grids) == 1:
            return self.grids[0].lookup(x)
        owner = nearest_centroid(x.reshape(-1, 3), self.centroids, self.dims).view(x.shape[:-1])
        sigma = torch.zeros(x.shape[:-1], device=x.device, dtype=x.dtype)
        allowed = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
        for i, grid in enumerate(self.grids):
            mine = owner == i
            if self.only in (None, i) and mine.any():
                sigma[mine], allowed[mine] = grid.lookup(x[mine])
        return sigma, allowed

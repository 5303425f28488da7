"""The ground: flat country with a few shallow hollows, and the water that may stand in them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_NEWTON_STEPS = 3


@dataclass(frozen=True)
class Hollow:
    """A Gaussian dip of `depth_m` around (x, y); `spread_m` are its standard deviations along x and y."""

    x: float
    y: float
    depth_m: float
    spread_m: tuple[float, float]


@dataclass(frozen=True)
class Terrain:
    """Ground height is 0 minus the hollows; `water_m` is the water level, None when all is dry."""

    hollows: tuple[Hollow, ...] = ()
    water_m: float | None = None

    def height(self, x: float, y: float) -> float:
        """Ground height in metres at one place."""
        return -sum(
            h.depth_m * math.exp(-0.5 * (((x - h.x) / h.spread_m[0]) ** 2 + ((y - h.y) / h.spread_m[1]) ** 2))
            for h in self.hollows
        )

    def height_and_slope(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ground height and its derivatives along x and y, elementwise."""
        z, zx, zy = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
        for hollow in self.hollows:
            u, v = (x - hollow.x) / hollow.spread_m[0], (y - hollow.y) / hollow.spread_m[1]
            dip = hollow.depth_m * torch.exp(-0.5 * (u * u + v * v))
            z, zx, zy = z - dip, zx + dip * u / hollow.spread_m[0], zy + dip * v / hollow.spread_m[1]
        return z, zx, zy

    def intersect(
        self, rays_o: Float[Tensor, "n 3"], rays_d: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
        """t of the first ground or water surface in lengths of `rays_d`, and whether it is water.

        Infinite for rays that do not descend. Meant for rays steeper than the slopes, here up to 10 degrees.
        """
        ox, oy, oz = rays_o.unbind(-1)
        dx, dy, dz = rays_d.unbind(-1)
        down = dz < 0.0
        dz = torch.where(down, dz, -1.0)
        t = -oz / dz
        for _ in range(_NEWTON_STEPS if self.hollows else 0):
            z, zx, zy = self.height_and_slope(ox + t * dx, oy + t * dy)
            t = t - (oz + t * dz - z) / (dz - zx * dx - zy * dy)
        wet = torch.zeros_like(down)
        if self.water_m is not None:
            t_water = (self.water_m - oz) / dz
            wet = (t_water < t) & down
            t = torch.minimum(t, t_water)
        return torch.where(down & (t > 0.0), t, math.inf), wet

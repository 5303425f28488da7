"""Samples along rays, ray after ray without gaps: each ray has as many as it needs, none where it misses."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Intervals along rays and their middles.

    `x` are the middles in the learning frame; ray r owns samples `offsets[r]` to `offsets[r + 1]`, front to
    back; `ray_index` says the same the other way round.
    """

    x: Float[Tensor, "n 3"]
    t_starts: Float[Tensor, " n"]
    t_ends: Float[Tensor, " n"]
    ray_index: Int32[Tensor, " n"]
    offsets: Int32[Tensor, " r1"]

    @property
    def n_rays(self) -> int:
        """Rays, with those that have no samples."""
        return len(self.offsets) - 1

    def cut(
        self, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"], t_max: Float[Tensor, " r"]
    ) -> "Samples":
        """The same samples, each ending at its ray's `t_max` at the latest; those beyond have no length."""
        ray = self.ray_index.long()
        end = t_max[ray]
        t_starts, t_ends = torch.minimum(self.t_starts, end), torch.minimum(self.t_ends, end)
        middle = (t_starts + t_ends) / 2
        return Samples(
            rays_o[ray] + rays_d[ray] * middle[:, None], t_starts, t_ends, self.ray_index, self.offsets
        )

    def padded(self) -> tuple[tuple[int, int], Tensor]:
        """Shape (rays, most samples of a ray) of a matrix of all samples, and their flat places in it."""
        starts = self.offsets[:-1].long()
        longest = int((self.offsets[1:] - self.offsets[:-1]).max()) if self.n_rays else 0
        ray = self.ray_index.long()
        column = torch.arange(len(ray), device=ray.device) - starts[ray]
        return (self.n_rays, longest), ray * longest + column


@dataclass(frozen=True)
class Sampling:
    """Importance sampling: samples a ray, exploration share, bounds in learning units, coarse steps a ray."""

    n_samples: int
    floor: float
    t_min: float = 0.0
    t_max: float = float("inf")
    n_coarse: int = 64

    @staticmethod
    def of_picture(n_samples: int, floor: float) -> "Sampling":
        """As pictures take them: four coarse steps a sample are enough, within 32 and 64."""
        return Sampling(n_samples, floor, n_coarse=min(max(4 * n_samples, 32), 64))


MARCH_THRESHOLD_PER_M = 0.02  # below what a fresh density grid believes to be everywhere


@dataclass(frozen=True)
class March:
    """Occupancy march: even steps (learning units), evaluated where the density grid exceeds `threshold`.

    A ray ends where the grid's own transmittance falls below `opaque`. With `explore_every`, one in so many
    of the steps that this leaves out is evaluated too, also behind what is opaque: density can always grow
    where the grid sees nothing. A ray that would need more than `max_samples` takes longer steps.
    """

    step: float
    threshold: float
    opaque: float = 1e-3
    max_samples: int = 256
    t_min: float = 0.0
    t_max: float = float("inf")
    explore_every: int = 0

    @staticmethod
    def of_picture(max_samples: int, step_m: float, scale_m: float) -> "March":
        """As pictures march: steps in metres, of which `scale_m` make a learning unit."""
        return March(step_m / scale_m, MARCH_THRESHOLD_PER_M * scale_m, max_samples=max_samples)

"""Which views and rays cannot see a region, without a march: one expert of many looks at few photographs.

By the triangle inequality. Where all of something lies within `r` of a point `m`, no centroid is further from
any of it than from `m` plus `r`, and none nearer than from `m` minus `r`. So if an expert's centroid is at
`d` from `m`, the nearest one at `n`, and `d - r > margin * (n + r)`, none of it is in the expert's region.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from anerf.geometry.boxes import Aabb
from anerf.partition.regions import Partition
from anerf.partition.routing import centroid_distances

# Rays flatter than this see so far that their view's circle excludes nobody.
_STEEP_RAD = 1.4
# Of the distances: more than their rounding.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Reach:
    """What may be in one expert's region. It errs to one side only: what it denies is certainly not."""

    centroids: Float[np.ndarray, "e 3"]
    expert: int
    margin: float
    dims: int

    @classmethod
    def of(cls, partition: Partition, expert: int) -> "Reach":
        """The reach of one expert of a partition."""
        return cls(partition.centroids, expert, partition.margin, partition.dims)

    def of_view(self, c2w: Float[np.ndarray, "3 4"], widest_rad: float, band: Aabb) -> bool:
        """Whether rays from this pose (ENU metres) may be in the region where they are inside `band`.

        `widest_rad`: no ray is further from the camera's axis.
        """
        steepest_rad = np.arccos(np.clip(c2w[2, 2], -1, 1)) + widest_rad
        drop_m = c2w[2, 3] - band.lo[2]
        if steepest_rad > _STEEP_RAD or drop_m <= 0:
            return True
        circle_m = drop_m * np.tan(steepest_rad)
        half_m = band.size[2] / 2 if self.dims == 3 else 0.0
        middle = np.array([[*c2w[:2, 3], band.center[2]]])
        return bool(self._may(middle, np.array([np.hypot(circle_m, half_m)]))[0])

    def of_segments(
        self,
        rays_o: Float[np.ndarray, "n 3"],
        rays_d: Float[np.ndarray, "n 3"],
        near: Float[np.ndarray, " n"],
        far: Float[np.ndarray, " n"],
    ) -> Bool[np.ndarray, " n"]:
        """Whether each ray may be in the region between `near` and `far`."""
        middle = rays_o + ((near + far) / 2)[:, None] * rays_d
        return self._may(middle, (far - near) / 2 * np.linalg.norm(rays_d[:, : self.dims], axis=1))

    def _may(
        self, middle: Float[np.ndarray, "n 3"], radius: Float[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        distance = centroid_distances(
            torch.from_numpy(middle), torch.from_numpy(self.centroids), self.dims
        ).numpy()
        own = distance[:, self.expert] * (1 - _SLACK) - radius
        return own <= self.margin * (1 + _SLACK) * (distance.min(axis=1) + radius)

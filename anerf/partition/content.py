"""Where a scene's pixels look: how many of them see the surface in each small cube of the scene's box.

Each tile of the pictures that are learned from counts once, where its middle ray meets the middle of the
height bounds. Tiles of one cube are one point, so that memory and time do not grow with the photographs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

from anerf.errors import PartitionError
from anerf.partition.coverage import COVERAGE_TILE, coverage_downscale, pixel_share, seen_tiles
from anerf.partition.regions import Partition
from anerf.partition.routing import nearest_centroid
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress

CONTENT_SPLIT = "train"
"""The photographs that a partition's experts learn from, and whose pixels are evened out."""
_MOST_LOOSE = 1 << 20
_DISTANCES_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Content:
    """Points of the scene's surfaces (ENU metres) and how many pixels see each."""

    xyz: Float[np.ndarray, "m 3"]
    pixels: Float[np.ndarray, " m"]

    def masses(self, centroids: Float[np.ndarray, "e 3"], dims: int) -> Float[np.ndarray, " e"]:
        """Pixels whose surface is nearest to each centroid."""
        return np.bincount(self.owners(centroids, dims), self.pixels, len(centroids))

    def owners(self, centroids: Float[np.ndarray, "e 3"], dims: int) -> Int64[np.ndarray, " m"]:
        """The nearest centroid of each point."""
        xyz, seeds = torch.from_numpy(self.xyz), torch.from_numpy(centroids)
        at_once = max(1, _DISTANCES_AT_ONCE // len(centroids))
        return torch.cat([nearest_centroid(part, seeds, dims) for part in xyz.split(at_once)]).numpy()


def scene_content(scene: Scene, n_experts: int, progress: Progress | None = None) -> Content:
    """The content of the split `train`, in cubes that are small beside the regions of so many experts.

    PartitionError where no photograph sees anything of the scene's box.
    """
    cells = int(np.clip(32 * np.sqrt(n_experts), 256, 1024))
    cube_m = max(scene.aabb.size[:2]) / cells
    lo = np.array(scene.aabb.lo)
    nx, ny, _ = (int(side / cube_m) + 1 for side in scene.aabb.size)
    one = Partition("", np.array([scene.aabb.center]), 2, 1.0, (scene.aabb,), "")
    merged = _Cubes.nothing()
    parts: list[_Cubes] = []
    downscale = coverage_downscale(scene)
    for seen in seen_tiles(scene, one, (CONTENT_SPLIT,), downscale, COVERAGE_TILE):
        pixels = seen.pixels * pixel_share(scene.frames[seen.frame_index].camera, downscale)
        column, row, layer = ((seen.surface - lo) / cube_m).astype(np.int64).T
        key = (layer * ny + row) * nx + column
        parts.append(_Cubes(key, pixels, seen.surface * pixels[:, None]))
        if sum(len(part.key) for part in parts) > _MOST_LOOSE:
            merged, parts = _Cubes.merged([merged, *parts]), []
        if progress is not None:
            progress(seen.frame_index + 1, len(scene.frames))
    merged = _Cubes.merged([merged, *parts])
    if not len(merged.key):
        raise PartitionError(
            f"no photograph of scene {scene.name!r} sees anything of its box; prepare it with the heights of "
            "its surfaces, --altitude-range LOW,HIGH"
        )
    return Content(merged.moment / merged.pixels[:, None], merged.pixels)


@dataclass(frozen=True, eq=False)
class _Cubes:
    """Pixels in numbered cubes, and the sum of their places."""

    key: Int64[np.ndarray, " m"]
    pixels: Float[np.ndarray, " m"]
    moment: Float[np.ndarray, "m 3"]

    @classmethod
    def nothing(cls) -> "_Cubes":
        return cls(np.empty(0, np.int64), np.empty(0), np.empty((0, 3)))

    @classmethod
    def merged(cls, parts: "list[_Cubes]") -> "_Cubes":
        key, group = np.unique(np.concatenate([part.key for part in parts]), return_inverse=True)
        pixels = np.concatenate([part.pixels for part in parts])
        moment = np.concatenate([part.moment for part in parts])
        sums = [np.bincount(group, column, len(key)) for column in (pixels, *moment.T)]
        return cls(key, sums[0], np.stack(sums[1:], axis=1))

"""Makes partitions: a grid of regions over the scene's box."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.partition.coverage import seen_tiles
from anerf.partition.regions import Partition, check_name, save_partition
from anerf.partition.routing import in_support
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress

# Coverage is measured on pictures of about this width, in tiles of 8 x 8 pixels.
_COVERAGE_WIDTH_PX = 256
_LATTICE = 64


def grid_partition(
    scene: Scene,
    nx: int,
    ny: int,
    margin: float,
    name: str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Partition:
    """Divides the scene's box into `nx` x `ny` equal regions (west to east, then northwards) and saves that.

    The name defaults to one that tells the design, such as `g22_grid_bm110`. PartitionError for an impossible
    design, a name that is taken, and a region that no photograph sees.
    """
    if nx < 1 or ny < 1 or not 1 <= margin <= 4:
        raise PartitionError(
            f"a grid of {nx} x {ny} regions with margin {margin} cannot be; give at least 1 x 1 regions and "
            "a margin of 1 to 4"
        )
    lo, size = np.array(scene.aabb.lo), np.array(scene.aabb.size)
    row, column = (index.ravel() for index in np.indices((ny, nx)))
    cell = np.stack((column + 0.5, row + 0.5, np.full(nx * ny, 0.5)), axis=1)
    grid = f"{nx}{ny}" if max(nx, ny) < 10 else f"{nx}x{ny}"
    draft = Partition(
        name=check_name(name or f"g{grid}_grid_bm{round(100 * margin)}"),
        centroids=lo + size * cell / (nx, ny, 1),
        dims=2,
        margin=margin,
        boxes=(),
        how=f"grid {nx} x {ny}",
    )
    boxes, pixels = _look(scene, draft, progress)
    partition = replace(draft, boxes=boxes)
    save_partition(scene, partition, pixels, overwrite=overwrite)
    return partition


def region_box(partition: Partition, expert: int, aabb: Aabb) -> Aabb:
    """The box around an expert's region with its margin, inside `aabb`, to a 64th of its sides."""
    axes = [np.linspace(low, high, _LATTICE + 1) for low, high in zip(aabb.lo, aabb.hi, strict=True)]
    if partition.dims == 2:
        axes[2] = np.array([aabb.lo[2], aabb.hi[2]])
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    support = in_support(
        torch.from_numpy(lattice), torch.from_numpy(partition.centroids), partition.margin, partition.dims
    )
    inside = lattice[support[:, expert].numpy()]
    if not len(inside):
        inside = partition.centroids[expert : expert + 1]
    step = np.array(aabb.size) / _LATTICE
    grown = Aabb.of_points(np.concatenate((inside - step, inside + step)))
    return grown.intersection(aabb) or aabb


def _look(
    scene: Scene, partition: Partition, progress: Progress | None
) -> tuple[tuple[Aabb, ...], Int[np.ndarray, "f e"]]:
    """Boxes around what each expert's rays meet (and its region), and pixels per frame and expert."""
    shape = len(scene.frames), partition.n_experts
    lo, hi = np.full((shape[1], 3), np.inf), np.full((shape[1], 3), -np.inf)
    pixels = np.zeros(shape, np.int64)
    widest = max(frame.camera.width for frame in scene.frames)
    downscale = min(1.0, _COVERAGE_WIDTH_PX / widest)
    for seen in seen_tiles(scene, partition, scene.splits(), downscale):
        _grow(lo, hi, seen.experts, seen.lo, seen.hi)
        camera = scene.frames[seen.frame_index].camera
        small = camera.scaled(downscale)
        enlarge = camera.width * camera.height / (small.width * small.height)
        pixels[seen.frame_index] += np.rint(seen.pixels @ seen.experts * enlarge).astype(np.int64)
        if progress is not None:
            progress(seen.frame_index + 1, len(scene.frames))
    unseen = np.flatnonzero(pixels.sum(axis=0) == 0)
    if len(unseen):
        east, north = partition.centroids[unseen[0], :2]
        raise PartitionError(
            f"no photograph sees region {unseen[0]} of {partition.how} (around {east:.0f} m east, "
            f"{north:.0f} m north); divide the scene into fewer regions"
        )
    boxes = []
    for expert in range(shape[1]):
        seen_box = Aabb.of_points(np.stack((lo[expert], hi[expert]))).intersection(scene.aabb)
        region = region_box(partition, expert, scene.aabb)
        boxes.append(region.union(seen_box) if seen_box else region)
    return tuple(boxes), pixels


def _grow(
    lo: Float[np.ndarray, "e 3"],
    hi: Float[np.ndarray, "e 3"],
    experts: np.ndarray,
    tile_lo: Float[np.ndarray, "t 3"],
    tile_hi: Float[np.ndarray, "t 3"],
) -> None:
    for expert in np.flatnonzero(experts.any(axis=0)):
        chosen = experts[:, expert]
        lo[expert] = np.minimum(lo[expert], tile_lo[chosen].min(axis=0))
        hi[expert] = np.maximum(hi[expert], tile_hi[chosen].max(axis=0))

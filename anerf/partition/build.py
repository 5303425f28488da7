"""Makes partitions: a design's centroids, boxes around what their experts see, and what that is."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.partition.balance import imbalance
from anerf.partition.content import CONTENT_SPLIT, scene_content
from anerf.partition.coverage import COVERAGE_TILE, SeenTiles, coverage_downscale, pixel_share, seen_tiles
from anerf.partition.designs import Balanced, Design, Grid
from anerf.partition.regions import Coverage, Partition, check_free, check_name, save_partition
from anerf.partition.routing import in_support, nearest_centroid
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress

_LATTICE = 64
_DISTANCES_AT_ONCE = 1 << 22


def grid_partition(
    scene: Scene, nx: int, ny: int, margin: float, name: str | None = None, *, overwrite: bool = False
) -> Partition:
    """As `make_partition` of a flat grid."""
    return make_partition(scene, Grid(nx, ny), margin, name, overwrite=overwrite)


def make_partition(
    scene: Scene,
    design: Design,
    margin: float,
    name: str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Partition:
    """Divides the scene's box into regions and saves that.

    The name defaults to one that tells the design, such as `g22_grid_bm110`. PartitionError for an impossible
    design, a name that is taken, a region that no photograph sees, and shares that cannot be balanced.
    """
    if not 1 <= margin <= 4:
        raise PartitionError(f"a margin of {margin} cannot be; give 1 for sharp borders, and up to 4")
    name = check_name(name or f"{design.label}_bm{round(100 * margin)}")
    if not overwrite:
        check_free(scene, name)
    if isinstance(design, Grid):
        centroids = design.centroids(scene.aabb)
    else:
        centroids = design.centroids(scene_content(scene, design.n_experts, progress), scene.aabb)
    draft = Partition(name, centroids, design.dims, margin, (), design.how)
    boxes, coverage = _look(scene, draft, progress)
    own = own_pixels(scene, coverage, draft.n_experts)
    if isinstance(design, Balanced):
        design.check(own)
    partition = replace(draft, boxes=boxes, how=f"{design.how}; {_evenness(own)}")
    save_partition(scene, partition, coverage, overwrite=overwrite)
    return partition


def own_pixels(scene: Scene, coverage: Coverage, n_experts: int) -> Float[np.ndarray, " e"]:
    """Pixels of the photographs to learn from that are each expert's own: what is evened out."""
    learned = np.array([frame.id for frame in scene.frames if frame.split == CONTENT_SPLIT])
    rows = np.isin(coverage.frame_id, learned)
    return np.bincount(coverage.expert[rows], coverage.own_pixels[rows], n_experts)


def region_box(partition: Partition, expert: int, aabb: Aabb) -> Aabb:
    """The box around an expert's region with its margin, inside `aabb`, to a 64th of its sides."""
    return region_boxes(partition, aabb)[expert]


def region_boxes(partition: Partition, aabb: Aabb) -> tuple[Aabb, ...]:
    """The `region_box` of each expert."""
    axes = [np.linspace(low, high, _LATTICE + 1) for low, high in zip(aabb.lo, aabb.hi, strict=True)]
    if partition.dims == 2:
        axes[2] = np.array([aabb.lo[2], aabb.hi[2]])
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    centroids = torch.from_numpy(partition.centroids)
    extents = _Extents(partition.n_experts)
    at_once = max(1, _DISTANCES_AT_ONCE // partition.n_experts)
    for first in range(0, len(lattice), at_once):
        points = lattice[first : first + at_once]
        support = in_support(torch.from_numpy(points), centroids, partition.margin, partition.dims).numpy()
        extents.grow(support, points, points)
    step = np.array(aabb.size) / _LATTICE
    boxes = []
    for expert, centroid in enumerate(partition.centroids):
        around = extents.box(expert) or Aabb.of_points(centroid[None])
        grown = Aabb.of_points(np.stack((np.array(around.lo) - step, np.array(around.hi) + step)))
        boxes.append(grown.intersection(aabb) or aabb)
    return tuple(boxes)


def _evenness(own: Float[np.ndarray, " e"]) -> str:
    uneven = imbalance(own)
    if np.isinf(uneven):
        return "an expert has no pixel of its own"
    return f"own pixels differ {f'by {uneven:.1%}' if uneven < 1 else f'{1 + uneven:.3g}-fold'}"


def _look(scene: Scene, partition: Partition, progress: Progress | None) -> tuple[tuple[Aabb, ...], Coverage]:
    """Boxes around what each expert's rays meet (and its region), and what it sees of each photograph."""
    extents, rows = _Extents(partition.n_experts), _Rows(scene, partition)
    for seen in seen_tiles(scene, partition, scene.splits(), coverage_downscale(scene), COVERAGE_TILE):
        extents.grow(seen.experts, seen.lo, seen.hi)
        rows.add(seen)
        if progress is not None:
            progress(seen.frame_index + 1, len(scene.frames))
    coverage = rows.coverage()
    unseen = np.setdiff1d(np.arange(partition.n_experts), coverage.expert[coverage.pixels > 0])
    if len(unseen):
        east, north = partition.centroids[unseen[0], :2]
        raise PartitionError(
            f"no photograph sees region {unseen[0]} of {partition.how} (around {east:.0f} m east, "
            f"{north:.0f} m north); divide the scene into fewer regions"
        )
    boxes = []
    for expert, region in enumerate(region_boxes(partition, scene.aabb)):
        met = extents.box(expert)
        seen_box = met and met.intersection(scene.aabb)
        boxes.append(region.union(seen_box) if seen_box else region)
    return tuple(boxes), coverage


class _Extents:
    """The corners around all that each expert was seen with."""

    def __init__(self, n_experts: int) -> None:
        self._lo, self._hi = np.full((n_experts, 3), np.inf), np.full((n_experts, 3), -np.inf)

    def grow(self, experts: np.ndarray, lo: Float[np.ndarray, "t 3"], hi: Float[np.ndarray, "t 3"]) -> None:
        for expert in np.flatnonzero(experts.any(axis=0)):
            chosen = experts[:, expert]
            self._lo[expert] = np.minimum(self._lo[expert], lo[chosen].min(axis=0))
            self._hi[expert] = np.maximum(self._hi[expert], hi[chosen].max(axis=0))

    def box(self, expert: int) -> Aabb | None:
        corners = np.stack((self._lo[expert], self._hi[expert]))
        return Aabb.of_points(corners) if np.isfinite(corners).all() else None


class _Rows:
    """The coverage table, photograph after photograph: it grows with what is seen, not with all pairs."""

    def __init__(self, scene: Scene, partition: Partition) -> None:
        self._scene, self._partition = scene, partition
        self._downscale = coverage_downscale(scene)
        self._centroids = torch.from_numpy(partition.centroids)
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._frame_index = -1
        self._pixels = self._own = np.zeros(partition.n_experts)

    def add(self, seen: SeenTiles) -> None:
        if seen.frame_index != self._frame_index:
            self._finish()
            self._frame_index = seen.frame_index
        owner = nearest_centroid(torch.from_numpy(seen.surface), self._centroids, self._partition.dims)
        self._pixels = self._pixels + seen.pixels @ seen.experts
        self._own = self._own + np.bincount(owner.numpy(), seen.pixels, self._partition.n_experts)

    def coverage(self) -> Coverage:
        self._finish()
        nothing = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))
        columns: Iterable[tuple[np.ndarray, ...]] = zip(nothing, *self._rows, strict=True)
        return Coverage(*(np.concatenate(column) for column in columns))

    def _finish(self) -> None:
        (expert,) = np.nonzero(self._pixels)
        if len(expert):
            frame = self._scene.frames[self._frame_index]
            enlarge = pixel_share(frame.camera, self._downscale)
            pixels, own = (
                np.rint(counts[expert] * enlarge).astype(np.int64) for counts in (self._pixels, self._own)
            )
            frame_id = np.full(len(expert), frame.id, np.int32)
            self._rows.append((frame_id, expert.astype(np.int32), pixels, own))
        self._pixels = self._own = np.zeros(self._partition.n_experts)

"""Which pixels an expert has to do with: tiles of pixels that see a surface which may be in its region.

Of a ray between the scene's height bounds, the middle half counts: where it only passes over a region, high
above or at the end, the neighbour in whose region it meets the ground learns it.
A tile stands for the ray through its middle, marched between the scene's height bounds until it is below
them: a region that its middle half is in for at least a step is never missed. Memory does not grow with the
number of photographs, nor with photographs x experts: a bounded number of tiles is handled at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb, intersect_aabb
from anerf.geometry.cameras import Camera, pixel_directions, seen_positions
from anerf.partition.reach import Reach
from anerf.partition.regions import Partition
from anerf.partition.routing import in_support
from anerf.scene.height import HeightBounds, height_bounds
from anerf.scene.scene import Scene

COVERAGE_TILE = 8
"""Side in pixels of the tiles that partitions are measured in."""
_COVERAGE_WIDTH_PX = 256
_MARCH_STEPS = 24
_MOST_MARCH_STEPS = 192
_TILES_AT_ONCE = 8192
_DISTANCES_AT_ONCE = 1 << 22  # of points to centroids: 32 MiB


@dataclass(frozen=True, eq=False)
class ExpertTiles:
    """The tiles of one expert, frame by frame.

    Tile (tile_x, tile_y) covers the columns from `tile * tile_x` up to `tile * (tile_x + 1)` and the rows
    likewise, cut off at the picture's border.
    """

    tile: int
    """Side in pixels of the downscaled picture."""
    frame_index: Int[np.ndarray, " t"]
    """Position in `scene.frames`."""
    tile_x: Int[np.ndarray, " t"]
    tile_y: Int[np.ndarray, " t"]
    surface_xy: Float[np.ndarray, "t 2"]
    """About where the tile's ray meets the surface: the middle of the height bounds; ENU metres, float32."""


@dataclass(frozen=True, eq=False)
class SeenTiles:
    """Tiles of one picture whose rays pass between the height bounds."""

    frame_index: int
    tile_x: Int[np.ndarray, " t"]
    tile_y: Int[np.ndarray, " t"]
    pixels: Int[np.ndarray, " t"]
    surface: Float[np.ndarray, "t 3"]
    """About where the tile's ray meets the surface: the middle of the height bounds; ENU metres."""
    experts: Bool[np.ndarray, "t e"]
    """In whose region the surface may be that the ray meets."""
    lo: Float[np.ndarray, "t 3"]
    hi: Float[np.ndarray, "t 3"]
    """Corners around the part of the tile's rays between the bounds, ENU metres."""


def region_tiles(
    scene: Scene, partition: Partition, expert: int, splits: Sequence[str], downscale: float, tile: int = 8
) -> ExpertTiles:
    """The same as `scene_tiles(...)[expert]`, without a look at photographs and tiles that cannot see it."""
    if not 0 <= expert < partition.n_experts:
        raise PartitionError(
            f"partition {partition.name} has no expert {expert}; name one of 0 to {partition.n_experts - 1}"
        )
    parts = _Parts(tile)
    for seen in _seen_tiles(scene, partition, splits, downscale, tile, Reach.of(partition, expert)):
        parts.add(seen, expert)
    return parts.joined()


def scene_tiles(
    scene: Scene, partition: Partition, splits: Sequence[str], downscale: float, tile: int = 8
) -> tuple[ExpertTiles, ...]:
    """For each expert, the tiles of the splits' pictures at `downscale` that see its region.

    The region counts with the partition's margin, so that a tile may belong to several experts.
    """
    experts = tuple(_Parts(tile) for _ in range(partition.n_experts))
    for seen in seen_tiles(scene, partition, splits, downscale, tile):
        for expert in np.flatnonzero(seen.experts.any(axis=0)).tolist():
            experts[expert].add(seen, expert)
    return tuple(parts.joined() for parts in experts)


def seen_tiles(
    scene: Scene, partition: Partition, splits: Sequence[str], downscale: float, tile: int = 8
) -> Iterator[SeenTiles]:
    """Tile by tile of every picture of the splits, in the order of the scene's frames."""
    return _seen_tiles(scene, partition, splits, downscale, tile, None)


def _seen_tiles(
    scene: Scene,
    partition: Partition,
    splits: Sequence[str],
    downscale: float,
    tile: int,
    reach: Reach | None,
) -> Iterator[SeenTiles]:
    """As `seen_tiles`; with `reach`, some of those that cannot see that expert's region are left out."""
    for split in splits:
        scene.frames_of(split)  # names a split that does not exist
    bounds = height_bounds(scene.points()[0], scene.aabb)
    band = _band(scene.aabb, bounds)
    steps = _march_steps(bounds)
    at_once = min(_TILES_AT_ONCE, max(1, _DISTANCES_AT_ONCE // (steps * partition.n_experts)))
    centroids = torch.from_numpy(partition.centroids)
    for index, frame in enumerate(scene.frames):
        if frame.split not in splits:
            continue
        grid = _tile_grid(frame.camera.scaled(downscale), tile)
        if reach is not None and not reach.of_view(frame.c2w, grid.widest_rad, band):
            continue
        rays_d = grid.directions @ frame.c2w[:, :3].T
        rays_o = np.broadcast_to(frame.c2w[:, 3], rays_d.shape)
        near, far = _between(rays_o, rays_d, band)
        wanted = far > near
        if reach is not None:
            wanted &= reach.of_segments(rays_o, rays_d, near, far)
        (rays,) = np.nonzero(wanted)
        for first in range(0, len(rays), at_once):
            ray = rays[first : first + at_once]
            march = _march(rays_o[ray], rays_d[ray], near[ray], far[ray], steps, bounds)
            if not len(march.ray):
                continue
            points = torch.from_numpy(np.concatenate([march.points, march.surface]))
            support = in_support(points, centroids, partition.margin, partition.dims).numpy()
            on_the_way, at_surface = support[: len(march.points)], support[len(march.points) :]
            ray = ray[march.ray]
            footprint_m = (grid.footprint[ray] * march.t_last)[:, None]
            yield SeenTiles(
                index,
                grid.tile_x[ray],
                grid.tile_y[ray],
                grid.pixels[ray],
                march.surface,
                at_surface | np.logical_or.reduceat(on_the_way & march.likely[:, None], march.starts, axis=0),
                np.minimum.reduceat(march.points, march.starts, axis=0)
                - march.half_step_m[:, None]
                - footprint_m,
                np.maximum.reduceat(march.points, march.starts, axis=0)
                + march.half_step_m[:, None]
                + footprint_m,
            )


def coverage_downscale(scene: Scene) -> float:
    """Partitions are measured on pictures of about `_COVERAGE_WIDTH_PX`: this much of the widest."""
    return min(1.0, _COVERAGE_WIDTH_PX / max(frame.camera.width for frame in scene.frames))


def pixel_share(camera: Camera, downscale: float) -> float:
    """Pixels of the photograph for each pixel of the picture at `downscale`."""
    small = camera.scaled(downscale)
    return camera.width * camera.height / (small.width * small.height)


class _Parts:
    """One expert's tiles as they come, picture after picture."""

    def __init__(self, tile: int) -> None:
        self._tile = tile
        no_tile = np.empty(0, np.int16)
        nothing = (np.empty(0, np.int32), no_tile, no_tile, np.empty((0, 2), np.float32))
        self._columns: list[tuple[np.ndarray, ...]] = [nothing]

    def add(self, seen: SeenTiles, expert: int) -> None:
        (chosen,) = np.nonzero(seen.experts[:, expert])
        if len(chosen):
            frame = np.full(len(chosen), seen.frame_index, np.int32)
            surface_xy = seen.surface[chosen, :2].astype(np.float32)
            self._columns.append((frame, seen.tile_x[chosen], seen.tile_y[chosen], surface_xy))

    def joined(self) -> ExpertTiles:
        return ExpertTiles(
            self._tile, *(np.concatenate(column) for column in zip(*self._columns, strict=True))
        )


@dataclass(frozen=True, eq=False)
class _TileGrid:
    """All tiles of a picture size: middle ray in camera axes, pixels inside, half diagonal per metre away.

    Tiles in whose middle the lens has no picture are left out.
    """

    tile_x: np.ndarray
    tile_y: np.ndarray
    pixels: np.ndarray
    directions: np.ndarray
    footprint: np.ndarray
    widest_rad: float
    """The largest angle between a tile's ray and the camera's axis."""


@lru_cache(maxsize=8)
def _tile_grid(camera: Camera, tile: int) -> _TileGrid:
    n_y, n_x = -(-camera.height // tile), -(-camera.width // tile)
    tile_y, tile_x = (index.ravel() for index in np.indices((n_y, n_x)))
    right, bottom = (
        np.minimum((tile_x + 1) * tile, camera.width),
        np.minimum((tile_y + 1) * tile, camera.height),
    )
    width, height = right - tile_x * tile, bottom - tile_y * tile
    middle = np.stack((right - width / 2, bottom - height / 2), axis=1)
    directions = pixel_directions(camera, torch.from_numpy(middle)).numpy()
    footprint = np.hypot(width / camera.fx, height / camera.fy) / 2
    for x in (tile_x * tile, right):
        for y in (tile_y * tile, bottom):
            # Off its axis, a lens may spread pixels wider than its focal length says.
            corner = torch.from_numpy(np.stack((x, y), axis=1).astype(np.float64))
            apart = np.linalg.norm(pixel_directions(camera, corner).numpy() - directions, axis=1)
            np.maximum(footprint, apart, out=footprint, where=seen_positions(camera, corner).numpy())
    seen = seen_positions(camera, torch.from_numpy(middle)).numpy()
    columns = (tile_x.astype(np.int16), tile_y.astype(np.int16), width * height, directions, footprint)
    widest_rad = float(np.arccos(np.clip(-directions[seen, 2], -1.0, 1.0)).max(initial=0.0))
    tile_x, tile_y, pixels, directions, footprint = (column[seen] for column in columns)
    return _TileGrid(tile_x, tile_y, pixels, directions, footprint, widest_rad)


@dataclass(frozen=True, eq=False)
class _March:
    """Points of the rays that pass between the height bounds, ray after ray."""

    ray: Int[np.ndarray, " r"]
    """Which of the given rays do."""
    starts: Int[np.ndarray, " r"]
    """Where each ray's points begin in `points`."""
    points: Float[np.ndarray, "m 3"]
    likely: Bool[np.ndarray, " m"]
    """Which of them lie in the middle half between the bounds."""
    surface: Float[np.ndarray, "r 3"]
    t_last: Float[np.ndarray, " r"]
    half_step_m: Float[np.ndarray, " r"]


def _band(aabb: Aabb, bounds: HeightBounds) -> Aabb:
    """The part of the box that any surface may be in."""
    return Aabb((*aabb.lo[:2], float(bounds.low.min())), (*aabb.hi[:2], float(bounds.high.max())))


def _march_steps(bounds: HeightBounds) -> int:
    """At least two steps inside the thinnest cell that a falling ray crosses."""
    thinnest_m = max(float((bounds.high - bounds.low).min()), 1e-3)
    steps = np.ceil(2 * (bounds.high.max() - bounds.low.min()) / thinnest_m)
    return int(np.clip(steps, _MARCH_STEPS, _MOST_MARCH_STEPS))


def _between(
    rays_o: Float[np.ndarray, "n 3"], rays_d: Float[np.ndarray, "n 3"], band: Aabb
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    near, far = intersect_aabb(torch.tensor(rays_o), torch.tensor(rays_d), band)
    return near.numpy(), far.numpy()


def _march(
    rays_o: Float[np.ndarray, "n 3"],
    rays_d: Float[np.ndarray, "n 3"],
    near: Float[np.ndarray, " n"],
    far: Float[np.ndarray, " n"],
    steps: int,
    bounds: HeightBounds,
) -> _March:
    step = (far - near) / steps
    t = near[:, None] + (np.arange(steps) + 0.5) * step[:, None]
    points = rays_o[:, None] + t[..., None] * rays_d[:, None]
    low, high = bounds.at(points[..., :2])
    z = points[..., 2]
    # What lies behind the lower bound is under ground.
    alive = np.logical_and.accumulate(z >= low, axis=1)
    used = alive & (z <= high)
    some = used.any(axis=1)
    (ray,) = np.nonzero(some)
    t, step, used = t[some], step[some], used[some]
    above = (z - (low + high) / 2)[some]
    likely = np.abs(above) <= (high - low)[some] / 4
    at, n_used = np.arange(len(ray)), used.sum(axis=1)
    t_last = t[at, used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)]
    crossed = above <= 0
    k = crossed.argmax(axis=1)
    before = np.maximum(k - 1, 0)
    fall = above[at, before] - above[at, k]
    share = np.where(fall > 0, above[at, before] / np.where(fall > 0, fall, 1.0), 0.0)
    t_middle = t[at, before] + share * (t[at, k] - t[at, before])
    t_surface = np.where(crossed.any(axis=1), np.minimum(t_middle, t_last), t_last)
    return _March(
        ray,
        np.cumsum(n_used) - n_used,
        points[some][used],
        likely[used],
        rays_o[ray] + t_surface[:, None] * rays_d[ray],
        t_last,
        step / 2,
    )

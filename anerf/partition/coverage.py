"""Which pixels an expert has to do with: tiles of pixels that see a surface which may be in its region.

Of a ray between the scene's height bounds, the middle half counts: where it only passes over a region, high
above or at the end, the neighbour in whose region it meets the ground learns it.
A tile stands for the ray through its middle, marched between the scene's height bounds until it is below
them. Memory does not grow with the number of photographs: one picture's tiles are handled at a time.
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
from anerf.partition.regions import Partition
from anerf.partition.routing import in_support
from anerf.scene.height import HeightBounds, height_bounds
from anerf.scene.scene import Scene

_MARCH_STEPS = 24
_MOST_MARCH_STEPS = 192
_TILES_AT_ONCE = 8192


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
    """About where the tile's ray meets the surface: the middle of the height bounds; ENU metres."""


@dataclass(frozen=True, eq=False)
class SeenTiles:
    """Tiles of one picture whose rays pass between the height bounds."""

    frame_index: int
    tile_x: Int[np.ndarray, " t"]
    tile_y: Int[np.ndarray, " t"]
    pixels: Int[np.ndarray, " t"]
    surface_xy: Float[np.ndarray, "t 2"]
    experts: Bool[np.ndarray, "t e"]
    """In whose region the surface may be that the ray meets."""
    lo: Float[np.ndarray, "t 3"]
    hi: Float[np.ndarray, "t 3"]
    """Corners around the part of the tile's rays between the bounds, ENU metres."""


def region_tiles(
    scene: Scene, partition: Partition, expert: int, splits: Sequence[str], downscale: float, tile: int = 8
) -> ExpertTiles:
    """The tiles of one expert; see `scene_tiles`."""
    if not 0 <= expert < partition.n_experts:
        raise PartitionError(
            f"partition {partition.name} has no expert {expert}; name one of 0 to {partition.n_experts - 1}"
        )
    return scene_tiles(scene, partition, splits, downscale, tile)[expert]


def scene_tiles(
    scene: Scene, partition: Partition, splits: Sequence[str], downscale: float, tile: int = 8
) -> tuple[ExpertTiles, ...]:
    """For each expert, the tiles of the splits' pictures at `downscale` that see its region.

    The region counts with the partition's margin, so that a tile may belong to several experts.
    """
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(partition.n_experts)]
    for seen in seen_tiles(scene, partition, splits, downscale, tile):
        for expert, of_expert in enumerate(parts):
            (chosen,) = np.nonzero(seen.experts[:, expert])
            if len(chosen):
                frame = np.full(len(chosen), seen.frame_index, np.int32)
                of_expert.append((frame, seen.tile_x[chosen], seen.tile_y[chosen], seen.surface_xy[chosen]))
    nothing = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32), np.empty((0, 2)))
    return tuple(
        ExpertTiles(tile, *(np.concatenate(column) for column in zip(*(of_expert or [nothing]), strict=True)))
        for of_expert in parts
    )


def seen_tiles(
    scene: Scene, partition: Partition, splits: Sequence[str], downscale: float, tile: int = 8
) -> Iterator[SeenTiles]:
    """Tile by tile of every picture of the splits, in the order of the scene's frames."""
    for split in splits:
        scene.frames_of(split)  # names a split that does not exist
    bounds = height_bounds(scene.points()[0], scene.aabb)
    centroids = torch.from_numpy(partition.centroids)
    for index, frame in enumerate(scene.frames):
        if frame.split not in splits:
            continue
        grid = _tile_grid(frame.camera.scaled(downscale), tile)
        for first in range(0, len(grid.tile_x), _TILES_AT_ONCE):
            part = slice(first, first + _TILES_AT_ONCE)
            rays_d = grid.directions[part] @ frame.c2w[:, :3].T
            rays_o = np.broadcast_to(frame.c2w[:, 3], rays_d.shape)
            march = _march(rays_o, rays_d, scene.aabb, bounds)
            if not len(march.ray):
                continue
            points = torch.from_numpy(np.concatenate([march.points, march.surface]))
            support = in_support(points, centroids, partition.margin, partition.dims).numpy()
            on_the_way, at_surface = support[: len(march.points)], support[len(march.points) :]
            footprint_m = (grid.footprint[part][march.ray] * march.t_last)[:, None]
            yield SeenTiles(
                index,
                grid.tile_x[part][march.ray],
                grid.tile_y[part][march.ray],
                grid.pixels[part][march.ray],
                march.surface[:, :2],
                at_surface | np.logical_or.reduceat(on_the_way & march.likely[:, None], march.starts, axis=0),
                np.minimum.reduceat(march.points, march.starts, axis=0)
                - march.half_step_m[:, None]
                - footprint_m,
                np.maximum.reduceat(march.points, march.starts, axis=0)
                + march.half_step_m[:, None]
                + footprint_m,
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


@lru_cache(maxsize=8)
def _tile_grid(camera: Camera, tile: int) -> _TileGrid:
    n_y, n_x = -(-camera.height // tile), -(-camera.width // tile)
    tile_y, tile_x = (index.ravel().astype(np.int32) for index in np.indices((n_y, n_x)))
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
    columns = (tile_x, tile_y, width * height, directions, footprint)
    return _TileGrid(*(column[seen] for column in columns))


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


def _march(
    rays_o: Float[np.ndarray, "n 3"], rays_d: Float[np.ndarray, "n 3"], aabb: Aabb, bounds: HeightBounds
) -> _March:
    low_m, high_m = float(bounds.low.min()), float(bounds.high.max())
    band = Aabb((*aabb.lo[:2], low_m), (*aabb.hi[:2], high_m))
    near, far = intersect_aabb(torch.tensor(rays_o), torch.tensor(rays_d), band)
    (ray,) = np.nonzero((far > near).numpy())
    near, far = near.numpy()[ray], far.numpy()[ray]
    # At least two steps inside the thinnest cell that a falling ray crosses.
    thinnest_m = max(float((bounds.high - bounds.low).min()), 1e-3)
    steps = int(np.clip(np.ceil(2 * (high_m - low_m) / thinnest_m), _MARCH_STEPS, _MOST_MARCH_STEPS))
    step = (far - near) / steps
    t = near[:, None] + (np.arange(steps) + 0.5) * step[:, None]
    points = rays_o[ray, None] + t[..., None] * rays_d[ray, None]
    low, high = bounds.at(points[..., :2])
    z = points[..., 2]
    # What lies behind the lower bound is under ground.
    alive = np.logical_and.accumulate(z >= low, axis=1)
    used = alive & (z <= high)
    some = used.any(axis=1)
    ray, t, step, used, alive = ray[some], t[some], step[some], used[some], alive[some]
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

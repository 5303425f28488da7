"""What an expert actor works on: an `Expert` or an `Adapter`, put together from the job's folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from anerf.checkpoint.load import expert_box, field_setting
from anerf.checkpoint.manifest import read_manifest
from anerf.checkpoint.resolve import complete_steps, step_folder
from anerf.checkpoint.shards import read_shard
from anerf.errors import CheckpointError, JobError
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.jobs import settings
from anerf.jobs.folder import read_accepted_job
from anerf.jobs.places import checkpoints_root, find_checkpoint
from anerf.jobs.spec import EvalJob, Job, TrainJob
from anerf.learn.adapt import Adapter, AdaptSettings
from anerf.learn.evaluate import support_and_query
from anerf.learn.expert import Expert, StretchReport
from anerf.learn.optimiser import Rates
from anerf.learn.rays import SURVEY_FLIGHT, RaySource, step_generator
from anerf.learn.scene_poses import moved_scene
from anerf.learn.state import ExpertState, new_state, restore_state
from anerf.partition.coverage import ExpertTiles, region_tiles, scene_tiles
from anerf.partition.regions import Partition
from anerf.products.poses import read_poses
from anerf.render.density_grid import DensityGrid, forbid_outside, new_density_grid
from anerf.render.expert import FieldSetting
from anerf.scene.height import height_bounds
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene, load_scene

MIN_TILES = 4  # an expert that sees less of a flight has nothing to learn from it
NOT_KNOWN_YET = 10**9  # steps that seconds will allow: until somebody knows, rates stay as they are
DENSITY_CELLS = 160  # along the longer horizontal side
MIN_CELL_M, MAX_CELL_M = 0.5, 1.5


class Learning(Protocol):
    """Advances step by step, the same way on every machine that starts from the same checkpoint."""

    state: ExpertState
    rates: Rates

    @property
    def step(self) -> int:
        """Steps done."""
        ...

    def advance(self, to_step: int) -> StretchReport:
        """Go on to that step."""
        ...


def build_learning(job_dir: str, expert: int, base: str | None = None) -> Learning:
    """Restore or start expert number `expert` of the job in `job_dir`; see `job_of` on `base`.

    Raises:
        InputError: something that the job names is missing or does not fit.
    """
    job = job_of(job_dir, base)
    if isinstance(job, TrainJob):
        return _training(job, job_dir, expert)
    if isinstance(job, EvalJob):
        return _adapting(job, job_dir, expert)
    raise JobError(f"a {job.op} job has no experts to train")


def learning_device() -> torch.device:
    """The accelerator that Ray gave this process, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def start_checkpoint(job: TrainJob, job_dir: str) -> str | None:
    """Where training goes on: the job's own last checkpoint, else the one that it names."""
    own = checkpoints_root(job, job_dir)
    steps = complete_steps(own)
    if steps:
        return step_folder(own, steps[-1])
    return None if job.checkpoint_path is None else find_checkpoint(job.checkpoint_path, job.prefix)


def _training(job: TrainJob, job_dir: str, expert: int) -> Expert:
    scene = load_scene(job.scene_path())
    partition = settings.job_partition(scene, job)
    pixels = open_pixels(scene, job.downscale)
    tiles = region_tiles(scene, partition, expert, ("train",), job.downscale)
    rays = RaySource(scene, pixels, tiles, (SURVEY_FLIGHT,), job.color_space)
    start = start_checkpoint(job, job_dir)
    if start is None:
        return fresh_expert(job, scene, partition, expert, rays)
    device, manifest = learning_device(), read_manifest(start)
    spec, setting = field_setting(manifest, device, settings.backend_name(job))
    tensors = read_shard(start, manifest.shards[expert])
    state = restore_state(tensors, setting.layout, expert_box(manifest, expert), f"{start}, expert {expert}")
    return _expert(job, scene, expert, spec, setting, state.to(device), rays)


def fresh_expert(job: TrainJob, scene: Scene, partition: Partition, expert: int, rays: RaySource) -> Expert:
    """An expert of a training job that knows nothing yet."""
    spec, device = settings.field_spec(job), learning_device()
    setting = settings.new_setting(job, spec, scene.scale, device)
    box = settings.partition_box(scene, partition, expert)
    density = fresh_density(scene, box, torch.e**setting.scale.log_bias)
    state = new_state(spec, setting.layout, density, box, step_generator(job.seed, expert, 0, "init"))
    if job.image_exposure:
        state.learn_exposures(rays.flight_of_photograph)
    return _expert(job, scene, expert, spec, setting, state.to(device), rays)


def _expert(
    job: TrainJob,
    scene: Scene,
    expert: int,
    spec: FieldSpec,
    setting: FieldSetting,
    state: ExpertState,
    rays: RaySource,
) -> Expert:
    outer = settings.outer_settings(job)
    if job.learn_inner_rates:
        state.learn_inner_rates(outer.inner.log_rates())
    return Expert(
        expert,
        job.seed,
        settings.learner(job, spec, setting, scene.scale),
        outer,
        settings.train_rates(job),
        state,
        rays,
        job.cell_dim,
        settings.fisher_damping(job),
    )


def _adapting(job: EvalJob, job_dir: str, expert: int) -> Adapter:
    uri = base_checkpoint(job)
    manifest = read_manifest(uri)
    scene = load_scene(job.scene_path())
    if job.refine_poses:  # by the coordinator, before it started this expert
        scene = moved_scene(scene, read_poses(Path(job_dir)))
    partition = settings.checkpoint_partition(scene, manifest)
    device = learning_device()
    spec, setting = field_setting(manifest, device, settings.backend_name(job))
    batch = adaptation_batch(scene, job)
    flights = flights_with(manifest.flights, batch)
    tiles = batch_tiles(scene, partition, batch, job.downscale)
    new_rays, old_rays = adaptation_rays(job, scene, partition, expert, tiles, flights, spec.color_space)
    tensors = read_shard(uri, manifest.shards[expert])
    state = restore_state(tensors, setting.layout, expert_box(manifest, expert), f"{uri}, expert {expert}")
    return adapter(job, scene, expert, tiles, spec, setting, state.to(device), new_rays, old_rays)


def adaptation_rays(
    job: EvalJob,
    scene: Scene,
    partition: Partition,
    expert: int,
    tiles: Sequence[ExpertTiles],
    flights: tuple[str, ...],
    color_space: str,
) -> tuple[RaySource, RaySource | None]:
    """Rays of a batch's support views (every expert's `tiles`), and of the survey to be replayed, if any."""
    pixels = open_pixels(scene, job.downscale)
    new_rays = RaySource(scene, pixels, tiles[expert], flights, color_space)
    old_tiles = region_tiles(scene, partition, expert, ("train",), job.downscale)
    if job.replay == 0 or not len(old_tiles.frame_index):
        return new_rays, None
    return new_rays, RaySource(scene, pixels, old_tiles, flights, color_space)


def batch_tiles(scene: Scene, partition: Partition, batch: str, downscale: float) -> tuple[ExpertTiles, ...]:
    """The tiles of a batch's support views that each expert sees."""
    tiles = scene_tiles(scene, partition, (batch,), downscale)
    return tuple(_support_tiles(scene, batch, of_one) for of_one in tiles)


def touched_experts(tiles: Sequence[ExpertTiles]) -> tuple[int, ...]:
    """Who sees enough of a batch (every expert's tiles of it) to take it up."""
    return tuple(expert for expert, seen in enumerate(tiles) if len(seen.frame_index) >= MIN_TILES)


def adapter(
    job: EvalJob,
    scene: Scene,
    expert: int,
    tiles: Sequence[ExpertTiles],
    spec: FieldSpec,
    setting: FieldSetting,
    state: ExpertState,
    new_rays: RaySource,
    old_rays: RaySource | None,
) -> Adapter:
    """An expert's state about to take up a batch.

    All experts make the same number of steps, with rays in proportion to how much of the batch they see
    (every expert's `tiles`): `support_rays` are those of an average expert that it touches.
    """
    content = [len(seen.frame_index) for seen in tiles]
    touched = touched_experts(tiles)
    total = sum(content[number] for number in touched)
    rays = max(1, round(job.support_rays * content[expert] * len(touched) / max(total, 1)))
    rates = settings.adapt_rates(job, max(job.tto) if job.tto_seconds is None else NOT_KNOWN_YET)
    if job.learned_rates:
        if state.inner_rates is None:
            raise JobError(
                "the job wants learned_rates and its checkpoint has none: train with learn_inner_rates, or"
                " give encoding_lr, sigma_lr and color_lr"
            )
        grid, sigma, color = state.inner_rates.detach().exp().tolist()
        rates = replace(rates, grid=grid, sigma=sigma, color=color)
    return Adapter(
        expert,
        job.seed,
        settings.learner(job, spec, setting, scene.scale),
        AdaptSettings(rays, job.replay, job.explore, job.early_stop),
        rates,
        state,
        new_rays,
        old_rays,
    )


def fresh_density(scene: Scene, box: Aabb, sigma_initial: float) -> DensityGrid:
    """A density grid over an expert's box (learning frame), closed outside the height bounds."""
    size_m = [side * scene.scale for side in box.size]
    cell_m = min(max(max(size_m[:2]) / DENSITY_CELLS, MIN_CELL_M), MAX_CELL_M)
    nx, ny = (max(1, round(side / cell_m)) for side in size_m[:2])
    nz = max(1, round(size_m[2] / (cell_m * 2 / 3)))
    grid = new_density_grid(torch.tensor(box.lo), torch.tensor(box.hi), (nz, ny, nx), sigma_initial)
    points, _ = scene.points()
    bounds = height_bounds(points, scene.aabb)
    x = torch.linspace(box.lo[0], box.hi[0], 2 * nx + 1)[1::2]
    y = torch.linspace(box.lo[1], box.hi[1], 2 * ny + 1)[1::2]
    xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).double().numpy()
    low, high = bounds.at(xy * scene.scale + [scene.origin[0], scene.origin[1]])
    to_learning = [torch.from_numpy((z - scene.origin[2]) / scene.scale).float() for z in (low, high)]
    forbid_outside(grid, to_learning[0], to_learning[1])
    return grid


def base_checkpoint(job: EvalJob) -> str:
    """The step folder that an adaptation starts from: another one once a training has saved a better one."""
    if job.checkpoint_path is None:
        raise CheckpointError("the job names no checkpoint: set checkpoint_path to a job's folder")
    return find_checkpoint(job.checkpoint_path, job.prefix)


def adaptation_batch(scene: Scene, job: EvalJob) -> str:
    """The flight to adapt to: the job's `batch`, or the scene's only one.

    Raises:
        JobError: the scene has no such flight, none at all, or several and the job names none.
    """
    batches = [split for split in scene.splits() if split not in ("train", "val")]
    if job.batch is not None:
        if job.batch not in batches:
            raise JobError(
                f"batch {job.batch!r} is not in scene {scene.name!r}, which has {batches or 'no new flight'}:"
                " add it with `anerf update`"
            )
        return job.batch
    if len(batches) != 1:
        raise JobError(
            f"scene {scene.name!r} has {len(batches)} new flights ({', '.join(batches) or 'none'})"
            " and the job names no batch: set `batch`, or add a flight with `anerf update`"
        )
    return batches[0]


def batch_views(scene: Scene, batch: str) -> tuple[list[int], list[int]]:
    """Frame indices (into the scene's frames) of a flight: adapted on, and only measured on."""
    indices = [i for i, frame in enumerate(scene.frames) if frame.split == batch]
    support, query = support_and_query([scene.frames[i].file for i in indices])
    return [indices[i] for i in support], [indices[i] for i in query]


def _support_tiles(scene: Scene, batch: str, tiles: ExpertTiles) -> ExpertTiles:
    """The tiles that lie in the batch's support views."""
    support, _ = batch_views(scene, batch)
    kept = np.isin(tiles.frame_index, support)
    return replace(
        tiles,
        frame_index=tiles.frame_index[kept],
        tile_x=tiles.tile_x[kept],
        tile_y=tiles.tile_y[kept],
        surface_xy=tiles.surface_xy[kept],
    )


def flights_with(flights: tuple[str, ...], batch: str) -> tuple[str, ...]:
    """Flights of a checkpoint after it took up a batch."""
    return flights if batch in flights else (*flights, batch)


def job_of(job_dir: str, base: str | None = None) -> Job:
    """The job as it was accepted; with `use_stored_args`, settings that it lacks come from its checkpoint.

    `base` is the step folder that an adaptation's coordinator has found (`base_checkpoint`): its experts are
    told it and look for none themselves, since `best` and `last` move while a training goes on.
    """
    job = read_accepted_job(Path(job_dir)).job
    if base is not None:
        job = job.model_copy(update={"checkpoint_path": base})
    if not job.use_stored_args or job.checkpoint_path is None:
        return job
    return job.with_stored(read_manifest(find_checkpoint(job.checkpoint_path, job.prefix)).job)

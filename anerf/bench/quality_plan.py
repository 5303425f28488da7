"""What the quality bench trains and adapts, with which settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from anerf.bench.quality import Flight, Measured, Place, adapted, scene_of, trained, untrained
from anerf.bench.quality_views import Views
from anerf.errors import InputError
from anerf.field.threads import kernel_threads, n_threads
from anerf.jobs import settings
from anerf.jobs.learning import adaptation_batch
from anerf.jobs.spec import EvalJob, TrainJob, parse_job
from anerf.learn.rays import SURVEY_FLIGHT
from anerf.partition.regions import Partition
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene, load_scene

TRAINING = MappingProxyType(
    {
        "algo": "plain",
        "color_space": "srgb",
        "ray_samples": 16,
        "rays_per_step": 2048,
        "no_bg_nerf": True,
        "sigma_depth": 1,
        "color_depth": 1,
        "encoding_lr": 0.04,
        "sigma_lr": 0.01,
        "color_lr": 0.01,
        "decay_factor": 20.0,
        "lr_hold": 0.6,
    }
)
ADAPTING = MappingProxyType(
    {
        "color_space": "srgb",
        "ray_samples": 16,
        "support_rays": 1024,
        "encoding_lr": 0.02,
        "sigma_lr": 0.005,
        "color_lr": 0.01,
        "decay_factor": 4.0,
        "lr_hold": 0.6,
    }
)
"""Fields of the bench's jobs beside those that follow from budgets and the scene."""

_FROM_NOTHING = {name: TRAINING[name] for name in ("encoding_lr", "sigma_lr", "color_lr", "decay_factor")}

SHORT_S = 150.0  # a training of less is over before a large table is filled
SHORT_CELL_M, LONG_CELL_M = 0.5, 0.4  # of the finest level


@dataclass(frozen=True)
class QualityPlan:
    """What to measure; see `anerf bench quality --help`."""

    scene: Path
    partition: str | None
    train_s: tuple[float, ...]
    batch: str | None
    adapt_s: tuple[float, ...]
    seeds: int
    also_at: tuple[float, ...] = ()
    """Further sizes (downscale) at which trained experts are measured."""


def measure_quality(
    plan: QualityPlan,
    train_fields: dict[str, Any],
    adapt_fields: dict[str, Any],
    report: Callable[[str], None],
) -> list[Measured]:
    """All measurements of the plan, seed by seed.

    Raises:
        InputError: the plan or a field cannot be used.
    """
    if not plan.train_s or min((*plan.train_s, *plan.adapt_s)) <= 0 or plan.seeds < 1:
        raise InputError("give at least one budget of training, budgets above 0 s, and at least one seed")
    scene = load_scene(plan.scene)
    _flights(plan, scene)  # what is not there is said before hours of training
    _validation(scene)
    measured: list[Measured] = []
    with kernel_threads(n_threads()):
        for seed in range(plan.seeds):
            measured += _of_seed(plan, scene, seed, train_fields, adapt_fields, report)
    return measured


def _of_seed(
    plan: QualityPlan,
    scene: Scene,
    seed: int,
    train_fields: dict[str, Any],
    adapt_fields: dict[str, Any],
    report: Callable[[str], None],
) -> list[Measured]:
    measured: list[Measured] = []
    for seconds in plan.train_s:
        job = _train_job(plan, scene, seed, seconds, train_fields)
        place = Place.of(scene, _partition(plan, scene), job)
        pixels = open_pixels(scene, job.downscale)
        old = Views(scene, pixels, tuple(_validation(scene)), job.ray_samples)
        title = f"seed {seed}: training for {seconds:g} s, "
        experts, effort = trained(place, job, seconds, lambda text, title=title: report(title + text))
        before = scene_of(place, experts, (SURVEY_FLIGHT,))
        score = old.score(before)
        measured.append(Measured("train", seed, seconds, effort.seconds, experts[0].step, score))
        for scale in plan.also_at:
            larger = Views(scene, open_pixels(scene, scale), old.indices, job.ray_samples)
            title = f"train, seen at {scale:g}"
            point = Measured(title, seed, seconds, effort.seconds, experts[0].step, larger.score(before))
            measured.append(point)
        if seconds != plan.train_s[0] or not _flights(plan, scene):
            continue
        flight = _flight(plan, scene, place, seed, adapt_fields, old)
        measured.append(Measured("before adapting", seed, 0, 0, 0, score, flight.new.score(before)))
        for budget in plan.adapt_s:
            report(f"seed {seed}: adapting to {flight.batch} for {budget:g} s")
            measured.append(adapted(place, experts, flight, budget, "adapt", seed))
        report(f"seed {seed}: learning {flight.batch} from nothing for {plan.adapt_s[0]:g} s")
        nothing = _flight(plan, scene, place, seed, _FROM_NOTHING | adapt_fields | {"replay": 0.0}, old)
        fresh = untrained(place, job, experts[0].state.exposures)
        measured.append(adapted(place, fresh, nothing, plan.adapt_s[0], "from nothing", seed))
    return measured


def _partition(plan: QualityPlan, scene: Scene) -> Partition:
    job = parse_job({"op": "train", "scene": str(plan.scene), "mask_dirname": plan.partition})
    assert isinstance(job, TrainJob)
    return settings.job_partition(scene, job, any_size=True)


def _train_job(
    plan: QualityPlan, scene: Scene, seed: int, seconds: float, fields: dict[str, Any]
) -> TrainJob:
    boxes = _partition(plan, scene).boxes
    cell_m = SHORT_CELL_M if seconds < SHORT_S else LONG_CELL_M
    budget = {
        "n_levels": 6 if seconds < SHORT_S else 8,
        "log2_hashmap_size": 17 if seconds < SHORT_S else 18,
        "max_resolution": max(32, round(max(max(box.size) for box in boxes) / cell_m)),
    }
    message = {**TRAINING, **budget, **fields, "op": "train", "scene": str(plan.scene), "seed": seed}
    job = parse_job(message, made_up_from="bench quality")
    assert isinstance(job, TrainJob)
    return job


def _flights(plan: QualityPlan, scene: Scene) -> set[str]:
    later = {frame.split for frame in scene.frames} - {"train", "val"}
    if plan.batch is not None and plan.batch not in later:
        raise InputError(f"scene {scene.name!r} has no flight {plan.batch!r}: it has {sorted(later)}")
    return later if plan.adapt_s else set()


def _flight(
    plan: QualityPlan, scene: Scene, place: Place, seed: int, fields: dict[str, Any], old: Views
) -> Flight:
    message = {**ADAPTING, **fields, "op": "eval", "scene": str(plan.scene), "seed": seed}
    job = parse_job({**message, "checkpoint_path": ".", "batch": plan.batch}, made_up_from="bench quality")
    assert isinstance(job, EvalJob)
    return Flight.of(place, job, adaptation_batch(scene, job), old)


def _validation(scene: Scene) -> list[int]:
    views = [i for i, frame in enumerate(scene.frames) if frame.split == "val"]
    if not views:
        raise InputError(f"scene {scene.name!r} keeps no view for validation: prepare it with some")
    return views

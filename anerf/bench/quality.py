"""How good a scene becomes for a given amount of computing: trained, and adapted to a later flight.

Everything happens in this process, by the experts and adapters that actors hold, one after the other; only
the waiting is left out. Budgets are seconds of all cores: CPU seconds of the process divided by the number of
threads. Learning rates follow the share of the budget that is spent.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from anerf.bench.quality_views import Score, Views
from anerf.errors import InputError
from anerf.field.threads import n_threads
from anerf.jobs.learning import (
    NOT_KNOWN_YET,
    adaptation_rays,
    adapter,
    batch_tiles,
    batch_views,
    flights_with,
    fresh_expert,
    touched_experts,
)
from anerf.jobs.spec import EvalJob, TrainJob
from anerf.learn.adapt import Adapter
from anerf.learn.expert import Expert
from anerf.learn.exposure import SETTLED_STEPS, solved_exposures
from anerf.learn.rays import SURVEY_FLIGHT, RaySource
from anerf.learn.state import restore_state
from anerf.partition.coverage import ExpertTiles, scene_tiles
from anerf.partition.regions import Partition
from anerf.render.exposure import Exposures
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene

SYNC_STEPS = 20  # between two meetings of the experts, as the job field `sync_step`
ADAPT_SYNC_STEPS = 10

Report = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """One point: what was done with how much computing, and the scores of survey and later views."""

    what: str
    seed: int
    budget_s: float
    used_s: float
    steps: int
    old: Score
    new: Score | None = None


class Effort:
    """Seconds of all cores that were spent inside `with` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> "Effort":
        """Start counting."""
        self._since = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self.seconds += (time.process_time() - self._since) / n_threads()


@dataclass(frozen=True)
class Place:
    """A scene, its partition and the survey's rays of each expert, made once for all trainings."""

    scene: Scene
    partition: Partition
    rays: tuple[RaySource, ...]

    @staticmethod
    def of(scene: Scene, partition: Partition, job: TrainJob) -> "Place":
        """The rays that a training job learns from."""
        pixels = open_pixels(scene, job.downscale)
        tiles = scene_tiles(scene, partition, ("train",), job.downscale)
        rays = (RaySource(scene, pixels, of_one, (SURVEY_FLIGHT,), job.color_space) for of_one in tiles)
        return Place(scene, partition, tuple(rays))


def trained(place: Place, job: TrainJob, seconds: float, report: Report) -> tuple[list[Expert], Effort]:
    """All experts after so many seconds of training from nothing."""
    experts = [
        fresh_expert(job, place.scene, place.partition, number, rays)
        for number, rays in enumerate(place.rays)
    ]
    effort = Effort()
    while effort.seconds < seconds:
        _plan(experts, effort, seconds)
        with effort:
            _advance(experts, experts[0].step + SYNC_STEPS)
            _meet(experts)
        report(f"{effort.seconds:.0f} of {seconds:.0f} s, step {experts[0].step}")
    return experts, effort


def _plan(learners: Sequence[Expert] | Sequence[Adapter], effort: Effort, seconds: float) -> None:
    """Let learning rates follow the share of the budget that is spent."""
    step = learners[0].step
    steps = max(step + 1, round(step * seconds / effort.seconds)) if effort.seconds else NOT_KNOWN_YET
    for learner in learners:
        learner.rates = replace(learner.rates, outer_steps=steps)


def _advance(experts: Sequence[Expert] | Sequence[Adapter], to_step: int) -> bool:
    """Whether any of them would go on."""
    reports = [expert.advance(to_step) for expert in experts]
    return not all(report.stopped for report in reports)


def _meet(experts: Sequence[Expert]) -> None:
    backgrounds = [e.state.background.detach() for e in experts if e.state.background is not None]
    for expert in experts if backgrounds else ():
        expert.state.set_background(torch.stack(backgrounds).mean(0))
    if experts[0].step >= SETTLED_STEPS:
        _share_exposures(experts)


def _share_exposures(experts: Sequence[Expert] | Sequence[Adapter], flight: int = 0) -> None:
    states = [expert.state for expert in experts]
    evidence = [(s.evidence.xx, s.evidence.xy) for s in states if s.evidence is not None]
    before = states[0].exposures
    if before is None or not evidence:
        return
    exposures = solved_exposures(evidence, before, flight)
    for state in states:
        state.exposures = exposures


def scene_of(place: Place, experts: Sequence[Expert | Adapter], flights: tuple[str, ...]) -> SceneModel:
    """The experts as a scene that renders."""
    scene, partition, learner = place.scene, place.partition, experts[0].learner
    exposures = next(
        (e.state.exposures for e in experts if isinstance(e, Adapter)), experts[0].state.exposures
    )
    return SceneModel(
        scene_name=scene.name,
        reference=scene.reference,
        crs=scene.crs,
        origin=scene.origin,
        scale=scene.scale,
        aabb=scene.aabb,
        flights=flights,
        experts=tuple(str(number) for number in range(len(experts))),
        partition_centroids=partition.centroids,
        dims=partition.dims,
        margin=partition.margin,
        spec=learner.spec,
        setting=learner.setting,
        models=tuple(expert.state.model() for expert in experts),
        background=experts[0].state.background,
        exposures=exposures,
    )


@dataclass(frozen=True)
class Flight:
    """A later flight and how to take it up."""

    job: EvalJob
    batch: str
    old: Views
    new: Views

    @staticmethod
    def of(place: Place, job: EvalJob, batch: str, old: Views) -> "Flight":
        """Its held-out views are `new`."""
        _, query = batch_views(place.scene, batch)
        return Flight(job, batch, old, replace(old, indices=tuple(query)))


def adapted(
    place: Place, experts: Sequence[Expert], flight: Flight, seconds: float, what: str, seed: int
) -> Measured:
    """Scores after so many seconds of taking up a flight; the experts stay as they are."""
    flights = flights_with((SURVEY_FLIGHT,), flight.batch)
    tiles = batch_tiles(place.scene, place.partition, flight.batch, flight.job.downscale)
    adapters = {
        number: _adapter(place, experts[number], tiles, flight, flights) for number in touched_experts(tiles)
    }
    if not adapters:
        raise InputError(f"no photograph of {flight.batch!r} looks into any expert's region")
    all_of_them = [adapters.get(number, expert) for number, expert in enumerate(experts)]
    learners, effort = list(adapters.values()), Effort()
    number = flights.index(flight.batch)
    _share_exposures(learners, number)
    going = True
    while going and effort.seconds < seconds:
        _plan(learners, effort, seconds)
        with effort:
            going = _advance(learners, learners[0].step + ADAPT_SYNC_STEPS)
            _share_exposures(learners, number)
    model = scene_of(place, all_of_them, flights)
    old, new = flight.old.score(model), flight.new.score(model)
    return Measured(what, seed, seconds, effort.seconds, learners[0].step, old, new)


def _adapter(
    place: Place, expert: Expert, tiles: Sequence[ExpertTiles], flight: Flight, flights: tuple[str, ...]
) -> Adapter:
    learner, number = expert.learner, expert.number
    new_rays, old_rays = adaptation_rays(
        flight.job, place.scene, place.partition, number, tiles, flights, learner.spec.color_space
    )
    copies = {name: tensor.clone() for name, tensor in expert.state.tensors().items()}
    state = restore_state(copies, learner.setting.layout, expert.state.box, f"expert {number}")
    return adapter(
        flight.job, place.scene, number, tiles, learner.spec, learner.setting, state, new_rays, old_rays
    )


def untrained(place: Place, job: TrainJob, exposures: Exposures | None) -> list[Expert]:
    """Experts that know nothing but, where given, the survey's exposures."""
    experts = [fresh_expert(job, place.scene, place.partition, i, rays) for i, rays in enumerate(place.rays)]
    for expert in experts:
        expert.state.exposures = exposures
    return experts

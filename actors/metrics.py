"""What Prometheus gets to know: every metric's name, meaning and tags, and how values are told.

Ray's agent on each node collects them and serves them with `ray_` before the name; see docs/operations.md. A
gauge goes when the process that told it ends. Tags have few values: a job's experts are told apart only where
there are at most `MOST_EXPERTS` of them.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Literal

from ray.util.metrics import Counter, Gauge, Histogram

from anerf.jobs.states import JobState

if TYPE_CHECKING:  # it brings torch, and the Mediator must stay small
    from anerf.learn.expert import StretchReport

MOST_EXPERTS = 64
EVERY_EXPERT = "all"
"""The tag `expert` of what is told of all of a job's experts together."""


@dataclass(frozen=True)
class Metric:
    """Name and meaning; the name ends with the unit. `boundaries` are a histogram's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    def exported(self) -> tuple[str, ...]:
        """The names of its series as Prometheus sees them."""
        endings = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(f"ray_{self.name}{ending}" for ending in endings)


JOBS = Metric("anerf_jobs", "gauge", "Jobs of the Mediator's table", ("state",))
QUEUE_AGE = Metric(
    "anerf_queue_age_seconds", "gauge", "Time since the longest waiting queued job was accepted"
)
DEAD_LETTERS = Metric("anerf_dead_letters_total", "counter", "Messages set aside since they are no jobs")
CONSUMER_LAG = Metric(
    "anerf_consumer_lag_messages",
    "gauge",
    "Messages on the job topic that an ingestor has not dealt with yet",
)
STEP = Metric("anerf_step", "gauge", "Step that a job's experts have reached", ("job",))
RAYS = Metric("anerf_rays_per_second", "gauge", "Rays learned from a second, last round", ("job", "expert"))
LOSS = Metric("anerf_loss", "gauge", "Mean squared error of the last step's rays", ("job", "expert"))
PSNR = Metric("anerf_psnr_db", "gauge", "Mean PSNR of the views measured last, in sRGB", ("job", "role"))
EXPERTS_LOST = Metric("anerf_experts_lost_total", "counter", "Experts whose process died in a job")
ADAPTATION = Metric(
    "anerf_adaptation_seconds",
    "histogram",
    "Time that adaptations learned, without measuring",
    boundaries=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
CHECKPOINT = Metric(
    "anerf_checkpoint_commit_seconds",
    "histogram",
    "Time from an expert's first shard to the manifest",
    boundaries=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
RENDER = Metric(
    "anerf_render_seconds",
    "histogram",
    "Time from a request for a picture to its answer, waiting included",
    boundaries=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)

ALL = (
    JOBS,
    QUEUE_AGE,
    DEAD_LETTERS,
    CONSUMER_LAG,
    STEP,
    RAYS,
    LOSS,
    PSNR,
    EXPERTS_LOST,
    ADAPTATION,
    CHECKPOINT,
    RENDER,
)


@cache
def _gauge(metric: Metric) -> Gauge:
    return Gauge(metric.name, metric.description, metric.tags)


@cache
def _counter(metric: Metric) -> Counter:
    return Counter(metric.name, metric.description, metric.tags)


@cache
def _histogram(metric: Metric) -> Histogram:
    return Histogram(metric.name, metric.description, list(metric.boundaries), metric.tags)


def tell(gauge: Metric, value: float, **tags: str) -> None:
    """Where a gauge stands now."""
    _gauge(gauge).set(value, tags)


def count(counter: Metric, n: int = 1) -> None:
    """That something happened so many times; 0 is nothing to tell."""
    if n > 0:
        _counter(counter).inc(n)


def observe(histogram: Metric, value: float) -> None:
    """One more value of a distribution."""
    _histogram(histogram).observe(value)


@contextmanager
def timed(histogram: Metric) -> Iterator[None]:
    """Observe the seconds of what is inside, if it ends without an error."""
    started = time.monotonic()
    yield
    observe(histogram, time.monotonic() - started)


def tell_round(job: str, reports: Mapping[int, "StretchReport"], seconds: float) -> None:
    """How a round of a job's experts went: all together, and each where they are not too many."""
    rays_per_s = {expert: report.n_rays / seconds for expert, report in reports.items()}
    tell(STEP, min(report.step for report in reports.values()), job=job)
    tell(RAYS, sum(rays_per_s.values()), job=job, expert=EVERY_EXPERT)
    tell(LOSS, sum(r.loss for r in reports.values()) / len(reports), job=job, expert=EVERY_EXPERT)
    if len(reports) <= MOST_EXPERTS:
        for expert, report in reports.items():
            tell(RAYS, rays_per_s[expert], job=job, expert=str(expert))
            tell(LOSS, report.loss, job=job, expert=str(expert))


def tell_jobs(counts: Mapping[JobState, int], longest_waiting: str | None) -> None:
    """How many jobs are in each state, and since when (ISO 8601) the longest waiting one has been there."""
    for state in JobState:
        tell(JOBS, counts.get(state, 0), state=str(state))
    age_s = 0.0
    if longest_waiting is not None:
        age_s = (datetime.now(UTC) - datetime.fromisoformat(longest_waiting)).total_seconds()
    tell(QUEUE_AGE, max(0.0, age_s))

"""Nanoseconds a sample of every field backend, beside the machine's floor."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

from anerf.bench.batches import Batch, Contender, TableShape, contenders, ns_a_sample
from anerf.bench.floor import Floor, Rate, floor_measurements, floor_of
from anerf.bench.timing import Progress, Steps, interleaved
from anerf.field.threads import n_threads

BatchName = Literal["small", "large"]
SHAPES = (TableShape(16, 2, 19), TableShape(8, 4, 17))


@dataclass(frozen=True)
class FieldPlan:
    """What is measured, and how carefully.

    Torch on the CPU has its large batch cut to `large_for_torch` samples: it would take minutes, and is as
    fast a sample with fewer. Each measurement lasts at least `at_least_s` and is the median of `rounds`.
    """

    shapes: tuple[TableShape, ...]
    small: int
    large: int
    large_for_torch: int
    rounds: int
    at_least_s: float

    def n_samples(self, batch: BatchName, contender: Contender) -> int:
        """Samples of a contender's batch."""
        if batch == "small":
            return self.small
        slow = contender.backend.name == "torch" and contender.device.type == "cpu"
        return self.large_for_torch if slow else self.large


FULL = FieldPlan(SHAPES, small=4096, large=262_144, large_for_torch=32_768, rounds=7, at_least_s=0.05)
QUICK = FieldPlan(SHAPES, small=4096, large=32_768, large_for_torch=8192, rounds=3, at_least_s=0.0)


@dataclass(frozen=True)
class Speed:
    """Nanoseconds a sample; `ratio` to the floor's. A GPU has no floor here."""

    ns: float
    floor_ns: float | None
    ratio: float | None

    @classmethod
    def beside(cls, ns: float, floor_ns: float | None) -> Self:
        """A time and the floor that holds for it."""
        return cls(ns, floor_ns, None if floor_ns is None else ns / floor_ns)


@dataclass(frozen=True)
class FieldRow:
    """One backend on one batch."""

    table: str
    threads: int
    batch: BatchName
    n_samples: int
    backend: str
    device: str
    forward: Speed
    forward_backward: Speed


@dataclass(frozen=True)
class FloorRow:
    """The floor that a table's rows at this number of threads are compared with."""

    table: str
    threads: int
    floor: Floor


@dataclass(frozen=True)
class FieldSpeeds:
    """All of it."""

    floors: tuple[FloorRow, ...]
    rows: tuple[FieldRow, ...]


@dataclass(frozen=True)
class _Case:
    contender: Contender
    batch: BatchName
    n_samples: int


@dataclass(frozen=True)
class _Pass:
    """A key: forward or both passes of the case of that number."""

    case: int
    backward: bool


def thread_counts() -> tuple[int, ...]:
    """One, and all that there are."""
    return tuple(sorted({1, n_threads()}))


def measure_field(plan: FieldPlan, progress: Progress | None = None) -> FieldSpeeds:
    """Measure every table at one and at all threads; floor and backends of each take turns."""
    counts = thread_counts()
    done = Steps(plan.rounds * len(plan.shapes) * len(counts), progress)
    floors, rows = [], []
    for shape in plan.shapes:
        layout = shape.layout()
        everyone = contenders(layout)
        for threads in counts:
            cases = list(_cases(plan, everyone, on_cuda=threads == counts[-1]))
            ns = interleaved(_measurements(plan, cases, threads), plan.rounds, done)
            floor = floor_of(layout, {rate: value for rate, value in ns.items() if isinstance(rate, Rate)})
            floors.append(FloorRow(shape.name, threads, floor))
            for i, case in enumerate(cases):
                times = ns[_Pass(i, backward=False)], ns[_Pass(i, backward=True)]
                rows.append(_row(shape, threads, case, times, floor))
    return FieldSpeeds(tuple(floors), tuple(rows))


def _cases(plan: FieldPlan, everyone: list[Contender], *, on_cuda: bool) -> Iterator[_Case]:
    for batch in ("small", "large"):
        for contender in everyone:
            if on_cuda or contender.device.type == "cpu":  # the CPU's threads mean nothing to a GPU
                yield _Case(contender, batch, plan.n_samples(batch, contender))


def _measurements(
    plan: FieldPlan, cases: list[_Case], threads: int
) -> dict[Rate | _Pass, Callable[[], float]]:
    measurements: dict[Rate | _Pass, Callable[[], float]] = {}
    measurements |= floor_measurements(cases[0].contender.layout, threads)
    for i, case in enumerate(cases):
        layout, device = case.contender.layout, case.contender.device
        batch = Batch.along_rays(layout, case.n_samples, device)
        for backward in (False, True):
            measure = partial(_ns_a_sample, case.contender, batch, backward, threads, plan.at_least_s)
            measurements[_Pass(i, backward)] = measure
    return measurements


def _ns_a_sample(
    contender: Contender, batch: Batch, backward: bool, threads: int, at_least_s: float
) -> float:
    with contender.given_threads(threads):
        evaluate = contender.forward_backward if backward else contender.forward
        return ns_a_sample(evaluate, batch, at_least_s)


def _row(shape: TableShape, threads: int, case: _Case, ns: tuple[float, float], floor: Floor) -> FieldRow:
    on_cpu = case.contender.device.type == "cpu"
    forward, both = (part.ns if on_cpu else None for part in (floor.forward, floor.forward_backward))
    return FieldRow(
        table=shape.name,
        threads=threads,
        batch=case.batch,
        n_samples=case.n_samples,
        backend=case.contender.backend.name,
        device=case.contender.device.type,
        forward=Speed.beside(ns[0], forward),
        forward_backward=Speed.beside(ns[1], both),
    )

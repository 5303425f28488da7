"""`anerf bench coordinator`: what a coordinator and Ray cost beside the training of very many experts."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from anerf.errors import InputError
from cluster.ray_processes import memory_mib, roles
from cluster.run import own_ray
from cluster.show import AsJson, print_json

if TYPE_CHECKING:
    from anerf.checkpoint.manifest import Manifest

_STEPS_A_ROUND = 20


@dataclass(frozen=True)
class RoundCost:
    """What a number of simulated experts cost; medians over rounds."""

    experts: int
    processes: int
    start_s: float
    round_s: float
    """Of a round, of which the experts trained `train_s`."""
    train_s: float
    overhead_ms: float
    """Per expert and round."""
    cpu_ms: float
    """Of the coordinator's process, per expert and round."""
    calls: int
    """Remote calls in a round."""
    checkpoint_s: float
    coordinator_mib: float
    experts_mib: float
    ray_mib: float
    """Memory (PSS) of the coordinator, of the experts' processes, and of Ray's own."""


def bench_coordinator(
    experts: tuple[int, ...] = (1000, 4000),
    per_actor: int = 500,
    train_s: float = 1.0,
    rounds: int = 10,
    as_json: AsJson = False,
) -> None:
    """Drive experts that train for a set time instead of computing, and tell what everything else costs.

    A round is a stretch of training, a mean of the backgrounds and the photographs' exposures, as in every
    training; then a checkpoint is saved. Ray and the processes are real.

    Args:
        experts: How many; each number gives a line.
        per_actor: Experts that share a process.
        train_s: Seconds that a round's training takes.
        rounds: Rounds of which medians are taken.
        as_json: Print one JSON object a line.
    """
    if min(experts, default=0) < 1 or per_actor < 1 or rounds < 1 or train_s <= 0:
        raise InputError("the numbers of experts, processes and rounds must be at least 1, the time above 0")
    console = Console(stderr=True)
    found = []
    with own_ray(), tempfile.TemporaryDirectory() as folder:
        for n in experts:
            with console.status(f"{n} experts"):
                found.append(measure(n, per_actor, train_s, rounds, Path(folder) / f"{n}"))
    if as_json:
        for cost in found:
            print_json(asdict(cost))
        return
    Console().print(_table(found))
    Console().print("Overhead and CPU are per expert and round; memory is PSS.", style="dim")


def _table(found: Sequence[RoundCost]) -> Table:
    """A line for each figure and a column for each number of experts: there are fewer of these."""
    table = Table("experts", box=None, pad_edge=False)
    for cost in found:
        table.add_column(f"{cost.experts:,}", justify="right")
    lines: dict[str, Callable[[RoundCost], str]] = {
        "processes": lambda c: f"{c.processes}",
        "start": lambda c: f"{c.start_s:.1f} s",
        "round": lambda c: f"{c.round_s:.3f} s",
        "of which training": lambda c: f"{c.train_s:.3f} s",
        "overhead": lambda c: f"{c.overhead_ms:.3f} ms",
        "coordinator's CPU": lambda c: f"{c.cpu_ms:.3f} ms",
        "remote calls in a round": lambda c: f"{c.calls}",
        "checkpoint": lambda c: f"{c.checkpoint_s:.2f} s",
        "coordinator's memory": lambda c: f"{c.coordinator_mib:,.0f} MiB",
        "memory of experts' processes": lambda c: f"{c.experts_mib:,.0f} MiB",
        "memory of Ray's own": lambda c: f"{c.ray_mib:,.0f} MiB",
    }
    for name, cell in lines.items():
        table.add_row(name, *map(cell, found))
    return table


def measure(n_experts: int, per_actor: int, train_s: float, rounds: int, job_dir: Path) -> RoundCost:
    """Simulate one job in the Ray that is there."""
    from dataclasses import replace

    from actors.checkpointing import Checkpoints
    from actors.expert_pool import ExpertPool
    from actors.patience import PatientDiary
    from actors.simulated import SimulatedStart, simulated_folder
    from anerf.jobs.events import JobLog
    from anerf.jobs.spec import TrainJob

    folder = simulated_folder(job_dir)
    events = JobLog(folder)
    job = TrainJob(job_id="simulated", scene="nowhere", experts_per_actor=per_actor)
    started = time.perf_counter()
    start = SimulatedStart(train_s / _STEPS_A_ROUND)
    pool = ExpertPool(job, str(folder), range(n_experts), events, lambda: False, start)
    try:
        step = pool.load()
        start_s = time.perf_counter() - started
        manifest = _manifest(n_experts)
        checkpoints = Checkpoints(str(folder / "checkpoints"), PatientDiary(events, lambda: False), keep=1)
        walls, cpus, saves, calls = [], [], [], []
        for _ in range(rounds):
            began, cpu, n_calls = time.perf_counter(), _cpu_s(), pool.n_calls
            pool.advance(step + _STEPS_A_ROUND, wait_for_all=False)
            step += _STEPS_A_ROUND
            pool.sync_background()
            pool.sync_exposures()
            walls.append(time.perf_counter() - began)
            cpus.append(_cpu_s() - cpu)
            calls.append(pool.n_calls - n_calls)
            began = time.perf_counter()
            checkpoints.save(replace(manifest, step=step), pool)
            checkpoints.rate(step, None)
            saves.append(time.perf_counter() - began)
        memory = memory_mib(roles())
    finally:
        pool.stop()
    round_s = statistics.median(walls)
    return RoundCost(
        experts=n_experts,
        processes=-(-n_experts // per_actor),
        start_s=start_s,
        round_s=round_s,
        train_s=train_s,
        overhead_ms=1000 * (round_s - train_s) / n_experts,
        cpu_ms=1000 * statistics.median(cpus) / n_experts,
        calls=max(calls),
        checkpoint_s=statistics.median(saves),
        coordinator_mib=memory["coordinator"],
        experts_mib=memory["experts"],
        ray_mib=memory["ray"],
    )


def _manifest(n_experts: int) -> "Manifest":
    """A manifest of experts along a line."""
    from anerf.checkpoint.manifest import Manifest, PartitionStamp, SceneStamp

    corner = (float(n_experts), 1.0, 1.0)
    scene = SceneStamp(
        name="simulated", root="nowhere", reference=(0.0, 0.0, 0.0), crs="EPSG:4326", origin=(0.0, 0.0, 0.0),
        scale=1.0, aabb=((0.0, 0.0, 0.0), corner), altitude_range_m=(0.0, 1.0),
    )  # fmt: skip
    centroids = tuple((i + 0.5, 0.5, 0.5) for i in range(n_experts))
    boxes = tuple(((float(i), 0.0, 0.0), (i + 1.0, 1.0, 1.0)) for i in range(n_experts))
    return Manifest(
        step=0, job_id="simulated", created_at="", scene=scene,
        partition=PartitionStamp("simulated", centroids, 2, 1.0, boxes), field={}, grid_resolutions=(),
        grid_scales=(), shards={}, shared=None, flights=("survey",), seed=0, metrics={}, job={},
    )  # fmt: skip


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

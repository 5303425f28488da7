"""`anerf bench coordinator`: what a coordinator and Ray cost beside the training of very many experts."""

import json
import os
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from anerf.errors import InputError
from cluster.run import own_ray
from cluster.show import AsJson

if TYPE_CHECKING:
    from anerf.checkpoint.manifest import Manifest

_MIB = 2**20
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
            Console(soft_wrap=True).out(json.dumps(asdict(cost)), highlight=False)
        return
    table = Table(
        "experts", "processes", "start", "round", "overhead", "CPU", "calls", "checkpoint",
        "coordinator", "experts' processes", "Ray's own",
        box=None, pad_edge=False,
    )  # fmt: skip
    for c in found:
        table.add_row(
            f"{c.experts:,}", str(c.processes), f"{c.start_s:.1f} s", f"{c.round_s:.3f} s",
            f"{c.overhead_ms:.3f} ms", f"{c.cpu_ms:.3f} ms", str(c.calls), f"{c.checkpoint_s:.2f} s",
            f"{c.coordinator_mib:.0f} MiB", f"{c.experts_mib:.0f} MiB", f"{c.ray_mib:.0f} MiB",
        )  # fmt: skip
    Console().print(table)
    Console().print("Overhead and CPU are per expert and round; memory is PSS.", style="dim")


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
        memory = _memory_mib()
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


def _memory_mib() -> dict[str, float]:
    """PSS of this process, of the experts' and of Ray's other processes on this machine, by what they are."""
    found = {"coordinator": 0.0, "experts": 0.0, "ray": 0.0}
    session = os.environ["RAY_AUTH_TOKEN_PATH"].rpartition("/")[0]
    raylets = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if "raylet" in (line := (folder / "cmdline").read_text()) and session in line:
                raylets.add(int(folder.name))
        except OSError:  # it has just ended
            continue
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            pss = next(x for x in (folder / "smaps_rollup").read_text().splitlines() if x.startswith("Pss:"))
        except (OSError, StopIteration):  # it has just ended, or is not ours to look into
            continue
        mib = int(pss.split()[1]) * 1024 / _MIB
        if int(folder.name) == os.getpid():
            found["coordinator"] += mib
        elif line.startswith("ray::SimulatedExperts"):
            found["experts"] += mib
        elif session in line or parent in raylets:
            found["ray"] += mib
    return found

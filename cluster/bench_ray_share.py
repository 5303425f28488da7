"""`anerf bench ray-share`: what Ray costs in a training, against the same work in one process."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from anerf.errors import InputError
from cluster.demo import CONFIGS
from cluster.ray_processes import cpu_s, machine_cpu_s, roles
from cluster.run import own_ray, read_job_file
from cluster.show import AsJson, print_json

if TYPE_CHECKING:
    from anerf.jobs.spec import TrainJob
    from anerf.learn.expert import StretchReport


@dataclass(frozen=True)
class RayShare:
    """Medians over stretches; shares are of what one process takes, medians over neighbours."""

    experts: int
    per_actor: int
    cores: int
    steps: int
    """In a stretch, with a meeting of the experts at its end."""
    stretches: int
    with_ray_s: float
    alone_s: float
    share: float
    with_ray_cpu_s: float
    """Of the experts' processes, the coordinator's and Ray's own."""
    alone_cpu_s: float
    cpu_share: float
    coordinator_cpu_s: float
    ray_cpu_s: float
    """Of Ray's own processes."""
    others_cpu_s: float
    """Of all other processes of the machine, meanwhile: what is above a tenth spoils the figures."""
    load_before: float
    load_after: float


def bench_ray_share(
    job: Path | None = None,
    stretches: int = 20,
    per_actor: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Train the same experts with Ray and in one process, by turns, and tell what Ray takes of the time.

    They train for a stretch of `sync_step` steps, which ends with a mean of the backgrounds and the
    photographs' exposures. With Ray, by the coordinator's own rounds, each process of experts with its share
    of the cores; in one process, as many experts side by side as there are cores for their threads. Both
    learn the same to the last bit.

    Args:
        job: A training job's file; without it the demo's, on a tiny made survey.
        stretches: Of each kind.
        per_actor: Experts that share a process, instead of the job's `experts_per_actor`.
        as_json: Print one JSON object.
    """
    if stretches < 1 or (per_actor is not None and per_actor < 1):
        raise InputError("stretches and experts of a process must be at least 1")
    console = Console(stderr=True)
    # Ray's workers would let all other work of the machine go first, and this process would not.
    os.environ |= {"RAY_worker_niceness": "0"}
    with own_ray(), tempfile.TemporaryDirectory() as folder, console.status("training"):
        training = training_job(job, Path(folder))
        if per_actor is not None:
            training = training.model_copy(update={"experts_per_actor": per_actor})
        found = measure(training, stretches, Path(folder))
    if as_json:
        print_json(asdict(found))
        return
    table = Table("of a stretch", "with Ray", "in one process", "Ray's share", box=None, pad_edge=False)
    table.add_row("time", f"{found.with_ray_s:.3f} s", f"{found.alone_s:.3f} s", f"{found.share:+.1%}")
    table.add_row(
        "CPU time", f"{found.with_ray_cpu_s:.3f} s", f"{found.alone_cpu_s:.3f} s", f"{found.cpu_share:+.1%}"
    )
    Console().print(table)
    Console().print(
        f"{found.experts} experts, {found.per_actor} a process, {found.cores} cores, {found.steps} steps a "
        f"stretch, medians of {found.stretches}. Of the CPU time, the coordinator takes "
        f"{found.coordinator_cpu_s:.3f} s and "
        f"Ray's own processes {found.ray_cpu_s:.3f} s; other work on the machine takes "
        f"{found.others_cpu_s:.3f} s. Load {found.load_before:.1f} before, "
        f"{found.load_after:.1f} after.",
        style="dim",
    )


def measure(job: "TrainJob", stretches: int, out: Path) -> RayShare:
    """Run one job both ways in the Ray that is there.

    Raises:
        AnerfError: what the job cannot use.
    """
    from actors import metrics
    from actors.expert_pool import ExpertPool
    from actors.shares import machines
    from actors.training import next_stride
    from anerf.field.threads import kernel_threads
    from anerf.jobs import settings
    from anerf.jobs.folder import accept_job
    from anerf.scene.pixels import open_pixels
    from anerf.scene.scene import load_scene

    accepted = accept_job(job, out / "jobs", origin="run")
    (accepted.folder / "checkpoints").mkdir()
    scene = load_scene(job.scene_path())
    experts = range(len(settings.job_partition(scene, job).boxes))
    open_pixels(scene, job.downscale)
    load_before = os.getloadavg()[0]
    cores = max(1, int(sum(machine.cpus for machine in machines())))
    pool = ExpertPool(job, str(accepted.folder), experts, accepted.log, lambda: False)
    with ExitStack() as stack:
        stack.callback(pool.stop)
        stack.enter_context(kernel_threads(pool.threads))
        alone = _OneProcess(str(accepted.folder), len(experts), pool.threads, cores)
        pool.load()

        def with_ray(to_step: int) -> list[float]:
            nonlocal stride
            reports: Mapping[int, StretchReport] = {}
            while (step := pool.step) < to_step:
                started, goal = time.monotonic(), min(to_step, step + stride)
                reports = pool.advance(goal, wait_for_all=False)
                stride = next_stride(stride, goal - step, time.monotonic() - started)
                metrics.tell_round(job.job_id, reports, time.monotonic() - started)
            pool.sync_background()
            pool.sync_exposures()
            return [report.loss for report in reports.values()]

        stride, step = 1, pool.step + job.sync_step
        _same(with_ray(step), alone.advance(step))
        rays, ones = [], []
        for number in range(stretches):
            step += job.sync_step
            # Who goes first changes, so that what a busy machine does meanwhile falls on both alike.
            if number % 2:
                ones.append(_timed(alone.advance, step))
                rays.append(_timed(with_ray, step))
            else:
                rays.append(_timed(with_ray, step))
                ones.append(_timed(alone.advance, step))
            _same(rays[-1].losses, ones[-1].losses)
    return RayShare(
        experts=len(experts),
        per_actor=job.experts_per_actor,
        cores=cores,
        steps=job.sync_step,
        stretches=stretches,
        with_ray_s=statistics.median(r.wall_s for r in rays),
        alone_s=statistics.median(r.wall_s for r in ones),
        share=statistics.median(r.wall_s / one.wall_s - 1 for r, one in zip(rays, ones, strict=True)),
        with_ray_cpu_s=statistics.median(r.cpu_s for r in rays),
        alone_cpu_s=statistics.median(one.own_cpu_s for one in ones),
        cpu_share=statistics.median(r.cpu_s / one.own_cpu_s - 1 for r, one in zip(rays, ones, strict=True)),
        coordinator_cpu_s=statistics.median(r.own_cpu_s for r in rays),
        ray_cpu_s=statistics.median(r.ray_cpu_s for r in rays),
        others_cpu_s=statistics.median(stretch.others_cpu_s for stretch in (*rays, *ones)),
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )


@dataclass(frozen=True)
class _Stretch:
    losses: Sequence[float]
    wall_s: float
    cpu_s: float
    """Of all processes together."""
    own_cpu_s: float
    ray_cpu_s: float
    others_cpu_s: float


def _timed(advance: Callable[[int], list[float]], to_step: int) -> _Stretch:
    who = roles()
    before, machine_before, started = cpu_s(who), machine_cpu_s(), time.monotonic()
    losses = advance(to_step)
    wall_s, machine, after = time.monotonic() - started, machine_cpu_s() - machine_before, cpu_s(who)
    taken = {role: after[role] - before[role] for role in after}
    ours = sum(taken.values())
    return _Stretch(losses, wall_s, ours, taken["coordinator"], taken["ray"], max(0.0, machine - ours))


def _same(found: Sequence[float], expected: Sequence[float]) -> None:
    """See that both did the same work."""
    if found != expected:
        raise InputError(
            f"the experts' losses differ, {found} with Ray and {expected} in one process: measure a job "
            "whose steps are the same each time, on a CPU"
        )


def training_job(file: Path | None, folder: Path) -> "TrainJob":
    """The training to measure; the demo's, on a survey made for it, where no file is given.

    Raises:
        JobError: the file cannot be read, or is no job. InputError: it is another kind of job.
    """
    from anerf.jobs.spec import TrainJob, parse_job
    from anerf.partition.build import grid_partition
    from anerf.scene.made.survey import make_survey
    from anerf.scene.prepare import prepare_scene

    if file is not None:
        job = parse_job(read_job_file(file)).resolved(Path.cwd())
        if not isinstance(job, TrainJob):
            raise InputError(f"{file} is a {job.op} job: give a training's")
        return job
    make_survey(folder / "survey", size="tiny")
    scene = prepare_scene(folder / "survey" / "before", folder / "scene")
    grid_partition(scene, 2, 2, margin=1.1, name="g22")
    content = json.loads((CONFIGS / "demo_train.json").read_text(encoding="utf-8"))
    job = parse_job(content | {"job_id": "ray-share", "scene": str(folder / "scene")})
    assert isinstance(job, TrainJob)
    return job


class _OneProcess:
    """The same experts on threads of this process, without Ray."""

    def __init__(self, job_dir: str, n_experts: int, threads: int, cores: int) -> None:
        from anerf.jobs.learning import build_learning

        self._learning = [build_learning(job_dir, expert) for expert in range(n_experts)]
        self._pool = ThreadPoolExecutor(max(1, cores // threads))

    def advance(self, to_step: int) -> list[float]:
        """A stretch; the experts' losses."""
        import torch

        from anerf.learn.exposure import added_up, solved_exposures

        reports = list(self._pool.map(lambda learning: learning.advance(to_step), self._learning))
        states = [learning.state for learning in self._learning]
        backgrounds = [state.background for state in states if state.background is not None]
        if backgrounds:
            mean = sum(backgrounds, torch.zeros(())) / len(backgrounds)
            for state in states:
                state.set_background(mean)
        seen, before = [s.evidence.seen() for s in states if s.evidence is not None], states[0].exposures
        if seen and before is not None:
            found = solved_exposures([added_up(seen, len(before.maps))], before)
            for state in states:
                state.exposures = found.to(state.params.grid.device)
        return [report.loss for report in reports]

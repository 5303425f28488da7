"""An adaptation job: touched experts take up a new flight, and its held-out views say how well."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from actors import metrics
from actors.checkpointing import Checkpoints
from actors.evaluation import ViewsRequest, request_scores
from actors.expert import ExpertActor
from actors.expert_pool import ExpertPool
from actors.fan_out import Group
from actors.interlude import Interlude
from actors.offers import Weights, whole
from actors.patience import PatientDiary
from actors.posing import Corrections, refined_views
from actors.steering import Change
from actors.training import metric_row, validation_views
from anerf.checkpoint.load import field_setting, load_shared
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.checkpoint.resolve import expert_file, step_folder
from anerf.checkpoint.shards import copy_shard
from anerf.errors import JobCancelled, SceneError
from anerf.jobs import settings
from anerf.jobs.folder import SUMMARY_FILE, write_json_atomically
from anerf.jobs.learning import (
    adaptation_batch,
    base_checkpoint,
    batch_tiles,
    batch_views,
    flights_with,
    learning_device,
    touched_experts,
)
from anerf.jobs.places import checkpoints_root
from anerf.jobs.spec import EvalJob
from anerf.learn.evaluate import ViewScore, mean_scores
from anerf.learn.scene_poses import moved_scene
from anerf.products.adaptation import adaptation_sheet, measured_views, telling_views
from anerf.products.board import Board
from anerf.products.curve import CurvePoint, save_curve
from anerf.products.poses import PoseSummary, save_poses
from anerf.products.sheet import save_picture
from anerf.products.tables import MetricRow, save_metrics
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene, load_scene

OLD_VIEWS = 4
ENDLESS = 10**9  # steps
EXPOSURE_STEPS = 10  # between two meetings of the experts about the new photographs' exposures
KEPT_CHECKPOINTS = 1000  # all: beside the last one there are only those that somebody asked for


@dataclass(frozen=True)
class Plan:
    """What an adaptation will do: its views (indices into the scene's frames) and the experts it touches."""

    batch: str
    flight: int
    """The batch's number among the checkpoint's flights."""
    support: tuple[int, ...]
    query: tuple[int, ...]
    old: tuple[int, ...]
    touched: tuple[int, ...]

    def views(self) -> tuple[tuple[int, str], ...]:
        """The views to measure on, with their roles."""
        return tuple((i, "new") for i in self.query) + tuple((i, "old") for i in self.old)


@dataclass(frozen=True)
class Goal:
    """Where to stop and measure, and where the last stop will be. What does not count is out of reach."""

    steps: int
    seconds: float
    of_steps: int
    of_seconds: float


def goals_of(job: EvalJob) -> list[Goal]:
    """The stops of an adaptation, in order."""
    if job.tto_seconds is not None:
        seconds = sorted(set(job.tto_seconds))
        return [Goal(ENDLESS, s, ENDLESS, seconds[-1]) for s in seconds]
    steps = sorted({t for t in job.tto if t > 0})
    return [Goal(s, math.inf, steps[-1], math.inf) for s in steps]


@dataclass(frozen=True)
class Start:
    """What an adaptation starts from: the checkpoint at `uri`, and its manifest once it knows the flight."""

    uri: str
    base: Manifest
    manifest: Manifest
    shared: Mapping[str, np.ndarray]

    def at(self, tto: int) -> Manifest:
        """The manifest after so many steps."""
        return replace(self.manifest, step=self.base.step + tto)


def start_adapter(base: str, options: Mapping[str, Any], job_dir: str, group: Group, threads: int) -> Any:
    """A process in which a group's experts take up a flight.

    It is told its `base` when it is made, so that it finds the same one again when it dies or starts over. It
    ends with its coordinator: the next one, which may find another base, starts its own.
    """
    return ExpertActor.options(**options).remote(job_dir, group, threads, outlives=False, base=base)


class AdaptRun:
    """Runs one adaptation job. It starts from the named checkpoint every time: seconds need no resuming."""

    def __init__(self, job: EvalJob, job_dir: str, events: PatientDiary, between: Interlude) -> None:
        self._job = job
        self._dir = job_dir
        self._events = events
        self._between = between
        self._checkpoints = Checkpoints(checkpoints_root(job, job_dir), events, KEPT_CHECKPOINTS)
        self._goals = goals_of(job)
        self._changes = Change()
        self._rows: list[MetricRow] = []
        self._points: list[CurvePoint] = []
        self._curve: list[dict[str, Any]] = []
        self._adapt_s = 0.0
        self._stride = 1

    def run(self) -> dict[str, Any]:
        """Adapt, measuring before and after each number of steps in `tto`; the summary.

        Raises:
            JobCancelled: cancelled meanwhile.
            AnerfError: what the job cannot use, or an expert that dies again and again.
        """
        job = self._job
        uri = base_checkpoint(job)
        base = settings.resampled(read_manifest(uri), job)
        scene = load_scene(job.scene_path())
        poses = self._refined_poses(scene, uri) if job.refine_poses else {}
        scene = moved_scene(scene, poses)
        plan = self._plan(scene, base)
        open_pixels(scene, job.downscale)
        manifest = replace(base, job_id=job.job_id, flights=flights_with(base.flights, plan.batch))
        spec, _ = field_setting(base, learning_device())
        shared = self._events.insist(lambda: load_shared(uri, base, spec))
        start = Start(uri, base, manifest, shared)
        is_cancelled = self._between.steering.is_cancelled
        start_actor = partial(start_adapter, uri)
        pool = ExpertPool(job, self._dir, plan.touched, self._events, is_cancelled, start_actor)
        board = Board(Path(self._dir) / "tb")
        try:
            pool.load()
            self._measure(plan, base, start, pool, board)
            pool.sync_exposures(plan.flight)  # what the first look at the flight says
            self._learn(plan, start, pool, board)
            self._between.enter("ending")
            metrics.observe(metrics.ADAPTATION, self._adapt_s)
            saved = self._save(start, plan, pool) if job.save_adapted and pool.step > 0 else None
        finally:
            pool.stop()
            board.close()
        summary = {
            "job_id": job.job_id,
            "op": job.op,
            "batch": plan.batch,
            "base": uri,
            "checkpoint": saved,
            "touched_experts": list(plan.touched),
            "adapted_on": [scene.frames[i].file for i in plan.support],
            "measured_on": [scene.frames[i].file for i in plan.query],
            "old_views": [scene.frames[i].file for i in plan.old],
            "curve": self._curve,
        }
        if poses:
            summary["poses"] = asdict(PoseSummary.of(poses))
        if self._between.steering.is_stopping():
            summary["message"] = f"stopped on request after {pool.step} adaptation steps"
        self._events.insist(lambda: self._save_sheet(plan))
        self._events.insist(lambda: write_json_atomically(Path(self._dir) / SUMMARY_FILE, summary))
        return summary

    def _refined_poses(self, scene: Scene, uri: str) -> Corrections:
        """Corrections of the views to adapt on; experts read them from the job's folder when they start."""
        job, started = self._job, time.monotonic()
        support, _ = batch_views(scene, adaptation_batch(scene, job))
        request = settings.pose_request(job)
        open_pixels(scene, job.downscale)
        is_cancelled = self._between.steering.is_cancelled
        found = refined_views(uri, job.scene_path(), job.downscale, support, request, is_cancelled)
        self._events.insist(lambda: save_poses(Path(self._dir), found))
        seconds = round(time.monotonic() - started, 2)
        self._events.append("poses", **asdict(PoseSummary.of(found)), seconds=seconds)
        return found

    def _plan(self, scene: Scene, base: Manifest) -> Plan:
        batch = adaptation_batch(scene, self._job)
        support, query = batch_views(scene, batch)
        partition = settings.checkpoint_partition(scene, base)
        seen = batch_tiles(scene, partition, batch, self._job.downscale)
        touched = touched_experts(seen)
        if not touched:
            raise SceneError(
                f"no photograph of batch {batch!r} looks into the scene box of {scene.name!r}:"
                " check the flight's georeference"
            )
        old = validation_views(scene, OLD_VIEWS)
        self._events.append(
            "log",
            message=f"batch {batch}: adapts on {len(support)} views, measured on {len(query)} others and"
            f" {len(old)} old ones; touches experts {', '.join(map(str, touched))} of {len(seen)}",
        )
        flight = flights_with(base.flights, batch).index(batch)
        return Plan(batch, flight, tuple(support), tuple(query), old, touched)

    def _learn(self, plan: Plan, start: Start, pool: ExpertPool, board: Board) -> None:
        """Go from goal to goal, as people say between the rounds."""
        between, steering = self._between, self._between.steering
        take = partial(self._weights, start, pool)
        while (goal := self._goal(pool.step)) is not None:
            wishes = between.hold(pool.step, take, partial(self._save, start, plan, pool))
            if steering.is_cancelled():
                raise JobCancelled(f"cancelled after {pool.step} adaptation steps; nothing was saved")
            if steering.is_stopping():
                break
            if wishes.change is not None:
                self._changes = wishes.change.over(self._changes)
                self._change(pool, wishes.change)
            if wishes.reset:
                self._start_over(pool, plan.flight)
            if wishes.change is not None or wishes.reset:
                continue
            going = self._round(pool, goal, plan.flight)
            between.show(pool.step, take)
            if not going or self._goal(pool.step) != goal:
                self._measure(plan, start.manifest, start, pool, board)
                self._stride = 1
            if not going:
                break
        if self._curve[-1]["tto"] != pool.step:
            self._measure(plan, start.manifest, start, pool, board)

    def _goal(self, step: int) -> Goal | None:
        """The next stop."""
        ahead = (g for g in self._goals if step < g.steps and self._adapt_s < g.seconds)
        return next(ahead, None)

    def _weights(self, start: Start, pool: ExpertPool) -> Weights | None:
        snapshots = whole(pool.stamped_snapshots())
        if snapshots is None:
            return None
        shared = {**start.shared, **pool.exposures()}
        return Weights(start.at(pool.step), shared, snapshots, base_uri=start.uri)

    def _change(self, pool: ExpertPool, change: Change) -> None:
        """Let what somebody has changed take effect."""
        told = {name: value for name, value in asdict(change).items() if value is not None}
        message = ", ".join(f"{name} {value:g}" for name, value in told.items())
        self._events.append("log", message=f"from step {pool.step} on: {message}")
        if change.of_steps is not None:
            last = Goal(change.of_steps, math.inf, change.of_steps, math.inf)
            before = [replace(g, of_steps=last.steps) for g in self._goals if g.steps < last.steps]
            self._goals = [*before, last]
        self._apply(pool, change)

    def _apply(self, pool: ExpertPool, change: Change) -> None:
        """Tell the experts."""
        if change.of_steps is not None:
            pool.give("plan", change.of_steps)
        rates = {"grid": change.encoding_lr, "sigma": change.sigma_lr, "color": change.color_lr}
        if changed := {name: rate for name, rate in rates.items() if rate is not None}:
            pool.give("set_rates", changed)

    def _start_over(self, pool: ExpertPool, flight: int) -> None:
        """Back to the checkpoint that it began with; what was measured there stays."""
        pool.start_over()
        pool.sync_exposures(flight)
        self._apply(pool, self._changes)
        self._adapt_s, self._stride = 0.0, 1
        self._curve = self._curve[:1]
        self._points = [point for point in self._points if point.tto == 0]
        self._rows = [row for row in self._rows if row.tto == 0]
        self._between.offers.forget()
        self._between.figures.start_over()
        self._events.append("log", message="back at the checkpoint that it began with")

    def _round(self, pool: ExpertPool, goal: Goal, flight: int) -> bool:
        """Some steps towards a goal; False where the experts have stopped, since nothing gets better."""
        steering = self._between.steering
        started, before = time.monotonic(), pool.step
        meeting = (before // EXPOSURE_STEPS + 1) * EXPOSURE_STEPS
        allowed = max(1, min(self._stride, steering.steps_allowed()))
        reports = pool.advance(min(goal.steps, before + allowed, meeting))
        steering.has_done(pool.step - before)
        if pool.step == meeting:
            pool.sync_exposures(flight)
        seconds = max(time.monotonic() - started, 1e-3)
        self._adapt_s += seconds
        self._stride = max(1, min(4 * self._stride, round((pool.step - before) / seconds)))
        a_step_s = self._adapt_s / pool.step
        of_steps = min(goal.of_steps, max(pool.step, math.ceil(min(goal.of_seconds / a_step_s, ENDLESS))))
        if goal.steps == ENDLESS:
            pool.call("plan", of_steps)
        eta_s = (of_steps - pool.step) * a_step_s
        metrics.tell_round(self._job.job_id, reports, seconds)
        self._between.figures.add_round(pool.step, of_steps, reports, seconds, eta_s)
        self._events.append(
            "progress",
            step=pool.step,
            of_steps=of_steps,
            loss=sum(r.loss for r in reports.values()) / len(reports),
            rays_per_s=round(sum(r.n_rays for r in reports.values()) / seconds),
            eta_s=round(eta_s, 1),
        )
        if all(report.stopped for report in reports.values()):
            self._events.append("log", message=f"stopped early at step {pool.step}: nothing gets better")
            return False
        return True

    def _measure(self, plan: Plan, manifest: Manifest, start: Start, pool: ExpertPool, board: Board) -> None:
        job, tto = self._job, pool.step
        self._between.enter("measuring")
        request = ViewsRequest(
            scene=str(job.scene_path()),
            downscale=job.downscale,
            views=plan.views(),
            tto=tto,
            samples=job.ray_samples,
            lpips=job.lpips,
            folder=str(Path(self._dir) / "rendered"),
        )
        shared = {**start.shared, **pool.exposures()}
        parts: list[list[ViewScore]] = self._events.insist(
            lambda: pool.results(
                lambda: request_scores(manifest, request, shared, pool.snapshots(), base_uri=start.uri)
            )
        )
        scores = sorted((score for part in parts for score in part), key=lambda s: (s.role, s.file))
        self._rows += [metric_row(score, manifest.step) for score in scores]
        self._events.insist(lambda: save_metrics(Path(self._dir), self._rows))
        point: dict[str, Any] = {"tto": tto, "adapt_s": round(self._adapt_s, 2)}
        for role in ("new", "old"):
            of_role = [s for s in scores if s.role == role]
            if of_role:
                point[role] = mean_scores(of_role)
                self._points.append(CurvePoint(tto, point["adapt_s"], role, point[role]))
                metrics.tell(metrics.PSNR, point[role]["psnr_db"], job=job.job_id, role=role)
                for name, value in point[role].items():
                    board.add_scalar(f"{role}/{name}", value, tto)
        self._events.insist(lambda: save_curve(Path(self._dir), self._points))
        measured = {role: point[role]["psnr_db"] for role in ("new", "old") if role in point}
        self._between.figures.add_measured(tto, measured)
        self._events.append("metrics", step=tto, psnr=point["new"]["psnr_db"], **point)
        self._curve.append(point)

    def _save_sheet(self, plan: Plan) -> None:
        title = f"Adaptation to {plan.batch}: {self._rows[-1].tto} steps in {self._adapt_s:.1f} s"
        views = telling_views(measured_views(self._rows))
        save_picture(
            Path(self._dir) / "sheet.png", adaptation_sheet(title, Path(self._dir) / "rendered", views)
        )

    def _save(self, start: Start, plan: Plan, pool: ExpertPool) -> str:
        """The adapted checkpoint: new shards of the touched experts, the others' as they were."""
        here, base = start.at(pool.step), start.base
        folder = step_folder(self._checkpoints.root, here.step)
        measured = self._curve[-1]["new"] if self._curve[-1]["tto"] == pool.step else {}
        with metrics.timed(metrics.CHECKPOINT):
            # Begun anew, it may have come to this step with other rates.
            self._checkpoints.withdraw(here.step)
            shards = self._checkpoints.shards(here.step, pool)
            for expert in set(base.shards) - set(plan.touched):
                shards[expert] = self._events.insist(
                    partial(copy_shard, start.uri, base.shards[expert], expert_file(folder, expert))
                )
            scores = {f"new_{name}": value for name, value in measured.items()}
            stamped = replace(here, metrics=scores, job=self._job.given())
            saved = self._checkpoints.commit(stamped, shards, {**start.shared, **pool.exposures()})
        self._checkpoints.rate(here.step, measured.get("psnr_db"))
        return saved

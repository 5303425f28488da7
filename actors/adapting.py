"""An adaptation job: touched experts take up a new flight, and its held-out views say how well."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors import metrics
from actors.checkpointing import Checkpoints
from actors.evaluation import ViewsRequest, request_scores
from actors.expert_pool import ExpertPool
from actors.patience import PatientDiary
from actors.posing import Corrections, refined_views
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


class AdaptRun:
    """Runs one adaptation job. It starts from the named checkpoint every time: seconds need no resuming."""

    def __init__(
        self, job: EvalJob, job_dir: str, events: PatientDiary, cancelled: Callable[[], bool]
    ) -> None:
        self._job = job
        self._dir = job_dir
        self._events = events
        self._cancelled = cancelled
        self._rows: list[MetricRow] = []
        self._points: list[CurvePoint] = []
        self._adapt_s = 0.0

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
        pool = ExpertPool(job, self._dir, plan.touched, self._events, self._cancelled)
        board = Board(Path(self._dir) / "tb")
        curve: list[dict[str, Any]] = []
        try:
            pool.load()
            curve.append(self._measure(plan, base, uri, pool, tto=0, board=board))
            pool.sync_exposures(plan.flight)  # what the first look at the flight says
            for goal in goals_of(job):
                going = self._advance(pool, goal, plan.flight)
                curve.append(self._measure(plan, manifest, uri, pool, tto=pool.step, board=board))
                if not going:
                    break
            metrics.observe(metrics.ADAPTATION, self._adapt_s)
            saved = (
                self._save(manifest, base, uri, plan, pool, curve[-1])
                if job.save_adapted and pool.step > 0
                else None
            )
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
            "curve": curve,
        }
        if poses:
            summary["poses"] = asdict(PoseSummary.of(poses))
        self._events.insist(lambda: self._save_sheet(plan))
        self._events.insist(lambda: write_json_atomically(Path(self._dir) / SUMMARY_FILE, summary))
        return summary

    def _refined_poses(self, scene: Scene, uri: str) -> Corrections:
        """Corrections of the views to adapt on; experts read them from the job's folder when they start."""
        job, started = self._job, time.monotonic()
        support, _ = batch_views(scene, adaptation_batch(scene, job))
        request = settings.pose_request(job)
        open_pixels(scene, job.downscale)
        found = refined_views(uri, job.scene_path(), job.downscale, support, request, self._cancelled)
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

    def _advance(self, pool: ExpertPool, goal: Goal, flight: int) -> bool:
        """Go on to a goal; False where the experts have stopped, since nothing gets better any more."""
        stride = 1
        while pool.step < goal.steps and self._adapt_s < goal.seconds:
            if self._cancelled():
                raise JobCancelled(f"cancelled after {pool.step} adaptation steps; nothing was saved")
            started, before = time.monotonic(), pool.step
            meeting = (before // EXPOSURE_STEPS + 1) * EXPOSURE_STEPS
            reports = pool.advance(min(goal.steps, before + stride, meeting))
            if pool.step == meeting:
                pool.sync_exposures(flight)
            seconds = max(time.monotonic() - started, 1e-3)
            self._adapt_s += seconds
            stride = max(1, min(4 * stride, round((pool.step - before) / seconds)))
            a_step_s = self._adapt_s / pool.step
            of_steps = min(goal.of_steps, max(pool.step, math.ceil(min(goal.of_seconds / a_step_s, ENDLESS))))
            if self._job.tto_seconds is not None:
                pool.call("plan", of_steps)
            metrics.tell_round(self._job.job_id, reports, seconds)
            self._events.append(
                "progress",
                step=pool.step,
                of_steps=of_steps,
                loss=sum(r.loss for r in reports.values()) / len(reports),
                rays_per_s=round(sum(r.n_rays for r in reports.values()) / seconds),
                eta_s=round((of_steps - pool.step) * a_step_s, 1),
            )
            if all(report.stopped for report in reports.values()):
                self._events.append("log", message=f"stopped early at step {pool.step}: nothing gets better")
                return False
        return True

    def _measure(
        self, plan: Plan, manifest: Manifest, uri: str, pool: ExpertPool, *, tto: int, board: Board
    ) -> dict[str, Any]:
        job = self._job
        request = ViewsRequest(
            scene=str(job.scene_path()),
            downscale=job.downscale,
            views=plan.views(),
            tto=tto,
            samples=job.ray_samples,
            lpips=job.lpips,
            folder=str(Path(self._dir) / "rendered"),
        )
        spec, _ = field_setting(manifest, learning_device())
        shared = self._events.insist(lambda: load_shared(uri, manifest, spec)) | pool.exposures()
        parts: list[list[ViewScore]] = self._events.insist(
            lambda: pool.results(
                lambda: request_scores(manifest, request, shared, pool.snapshots(), base_uri=uri)
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
        self._events.append("metrics", step=tto, psnr=point["new"]["psnr_db"], **point)
        return point

    def _save_sheet(self, plan: Plan) -> None:
        title = f"Adaptation to {plan.batch}: {self._rows[-1].tto} steps in {self._adapt_s:.1f} s"
        views = telling_views(measured_views(self._rows))
        save_picture(
            Path(self._dir) / "sheet.png", adaptation_sheet(title, Path(self._dir) / "rendered", views)
        )

    def _save(
        self,
        manifest: Manifest,
        base: Manifest,
        uri: str,
        plan: Plan,
        pool: ExpertPool,
        point: dict[str, Any],
    ) -> str:
        """The adapted checkpoint: new shards of the touched experts, the others' as they were."""
        checkpoints = Checkpoints(str(settings.job_root(self._dir)), self._events, keep=1)
        step = base.step + pool.step
        folder = step_folder(checkpoints.root, step)
        with metrics.timed(metrics.CHECKPOINT):
            shards = checkpoints.shards(step, pool)
            for expert in set(base.shards) - set(plan.touched):
                shards[expert] = self._events.insist(
                    partial(copy_shard, uri, base.shards[expert], expert_file(folder, expert))
                )
            spec, _ = field_setting(base, learning_device())
            shared = self._events.insist(lambda: load_shared(uri, base, spec)) | pool.exposures()
            scores = {f"new_{name}": value for name, value in point["new"].items()}
            stamped = replace(manifest, step=step, metrics=scores, job=self._job.given())
            saved = checkpoints.commit(stamped, shards, shared)
        checkpoints.rate(step, point["new"]["psnr_db"])
        return saved

"""A training job: rounds of steps, a shared background, evaluation and checkpoints on the way."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors import metrics
from actors.checkpointing import Checkpoints, stamp
from actors.each import Deposed
from actors.evaluation import ViewsRequest, request_scores
from actors.expert_pool import ExpertPool
from actors.interlude import Interlude
from actors.offers import Weights, whole
from actors.patience import PatientDiary
from anerf.checkpoint.load import field_setting
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.errors import CheckpointError, JobCancelled
from anerf.jobs import settings
from anerf.jobs.events import fold
from anerf.jobs.folder import SUMMARY_FILE, read_accepted_job, write_json_atomically
from anerf.jobs.learning import learning_device, start_checkpoint
from anerf.jobs.places import checkpoints_root
from anerf.jobs.spec import TrainJob
from anerf.learn.evaluate import ViewScore, mean_scores
from anerf.learn.expert import StretchReport
from anerf.learn.exposure import SETTLED_STEPS
from anerf.learn.rays import SURVEY_FLIGHT
from anerf.partition.regions import Partition
from anerf.products.board import Board
from anerf.products.tables import MetricRow, save_metrics
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene, load_scene

ROUND_S = 1.0  # between two reports of progress; also how long a cancel waits


@dataclass(frozen=True)
class Schedule:
    """At which steps something happens; every boundary ends a round."""

    sync_step: int
    eval_step: int
    save_step: int
    outer_steps: int

    def boundary(self, step: int, at_most: int) -> int:
        """The next step at which a round must end, `at_most` steps away."""
        multiples = (self.sync_step, self.eval_step, self.save_step)
        return min([(step // m + 1) * m for m in multiples] + [self.outer_steps, step + at_most])

    def due(self, step: int, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens at this step."""
        return step % every == 0 or step == self.outer_steps


class TrainRun:
    """Runs one training job from its last checkpoint to its end."""

    def __init__(self, job: TrainJob, job_dir: str, events: PatientDiary, between: Interlude) -> None:
        self._job = job
        self._dir = job_dir
        self._events = events
        self._between = between
        self._schedule = Schedule(job.sync_step, job.eval_step, job.save_step, job.outer_steps)
        self._rows: list[MetricRow] = []

    def run(self) -> dict[str, Any]:
        """Train to the last outer step; the summary that also lies in `summary.json`.

        Raises:
            JobCancelled: after a checkpoint of the step reached.
            AnerfError: what the job cannot use, or an expert that dies again and again.
        """
        started = time.monotonic()
        job = self._job
        scene = load_scene(job.scene_path())
        partition = settings.job_partition(scene, job)
        views = validation_views(scene, job.max_test_tasks)
        start = start_checkpoint(job, self._dir)
        manifest = self._stamp(scene, partition, start)
        open_pixels(scene, job.downscale, self._decoding)
        root = checkpoints_root(job, self._dir)
        checkpoints = Checkpoints.reopened(root, self._events, job.keep_checkpoints)
        experts = range(len(partition.boxes))
        accepted = read_accepted_job(Path(self._dir))  # where it came by Kafka, the Mediator looks after it
        pool = ExpertPool(
            job, self._dir, experts, self._events, self._between.steering.is_cancelled,
            outlives=accepted.origin == "kafka", term=fold(accepted.log.read()[0]).attempt,
        )  # fmt: skip
        board = Board(Path(self._dir) / "tb")
        try:
            step = pool.load()
            told = "taken over" if pool.taken_over else "ready"
            self._events.append("log", message=f"{len(experts)} experts {told} at step {step}")
            scores = self._rounds(pool, step, manifest, checkpoints, views, board)
        except Deposed:
            pool.leave()
            raise
        finally:
            pool.stop()
            board.close()
        summary = {
            "job_id": job.job_id,
            "op": job.op,
            "steps": self._schedule.outer_steps,
            "seconds": round(time.monotonic() - started, 1),
            "scores": mean_scores(scores) if scores else {},
        }
        if self._between.steering.is_stopping():
            summary["message"] = f"stopped on request at step {self._schedule.outer_steps}"
        self._events.insist(lambda: write_json_atomically(Path(self._dir) / SUMMARY_FILE, summary))
        return summary

    def _stamp(self, scene: Scene, partition: Partition, start: str | None) -> Manifest:
        device = learning_device()
        if start is None:
            spec = settings.field_spec(self._job)
            setting = settings.new_setting(self._job, spec, scene.scale, device)
            return stamp(self._job, scene, partition, spec, setting.layout, (SURVEY_FLIGHT,))
        manifest = read_manifest(start)
        if manifest.step > self._job.outer_steps:
            raise CheckpointError(
                f"{start} is at step {manifest.step}, beyond the job's outer_steps {self._job.outer_steps}:"
                " raise outer_steps, or start from another checkpoint"
            )
        settings.checkpoint_partition(scene, manifest)
        spec, setting = field_setting(manifest, device)
        spec = spec.sampled(self._job.sampler, self._job.march_step_m)
        self._events.append("log", message=f"goes on from {start}, step {manifest.step}")
        stamped = stamp(self._job, scene, partition, spec, setting.layout, manifest.flights)
        return replace(stamped, step=manifest.step)

    def _decoding(self, done: int, total: int) -> None:
        if done == total or done % 50 == 0:
            self._events.append("log", message=f"decoded {done} of {total} pictures")

    def _rounds(
        self,
        pool: ExpertPool,
        step: int,
        manifest: Manifest,
        checkpoints: Checkpoints,
        views: tuple[int, ...],
        board: Board,
    ) -> list[ViewScore]:
        schedule, between, steering = self._schedule, self._between, self._between.steering
        scores: list[ViewScore] = []
        if step > manifest.step:
            # Taken over from a coordinator that was lost: nobody knows how much of this it has done.
            self._meet(pool, step)
            scores = self._take_stock(pool, replace(manifest, step=step), checkpoints, views, board)
        elif step == schedule.outer_steps and views:
            scores = self._evaluate(pool, manifest, views, board)
        began, began_step, stride = time.monotonic(), step, 1
        while step < schedule.outer_steps:
            held = time.monotonic()
            here = replace(manifest, step=step)
            between.hold(step, partial(_weights, pool, here), partial(_keep, checkpoints, pool, here))
            began += time.monotonic() - held
            if steering.is_cancelled():
                if step > manifest.step:
                    _keep(checkpoints, pool, here)
                raise JobCancelled(f"cancelled at step {step}; a checkpoint of that step is kept")
            if steering.is_stopping():
                schedule = self._schedule = replace(schedule, outer_steps=step)
                scores = self._take_stock(pool, here, checkpoints, views, board) or scores
                break
            round_started = time.monotonic()
            to_step = schedule.boundary(step, max(1, min(stride, steering.steps_allowed())))
            reports = pool.advance(to_step, wait_for_all=False)
            steering.has_done(to_step - step)
            round_s = max(time.monotonic() - round_started, 1e-3)
            stride = next_stride(stride, to_step - step, round_s)
            step = to_step
            self._meet(pool, step)
            eta_s = (time.monotonic() - began) / (step - began_step) * (schedule.outer_steps - step)
            self._report(step, reports, round_s, eta_s, board)
            here = replace(manifest, step=step)
            between.show(step, partial(_weights, pool, here))
            scores = self._take_stock(pool, here, checkpoints, views, board) or scores
        between.enter("ending")
        return scores

    def _meet(self, pool: ExpertPool, step: int) -> None:
        """Let the experts agree on what they share, where it is time. To do it again changes nothing."""
        if self._schedule.due(step, self._schedule.sync_step):
            pool.sync_background()
            if step >= SETTLED_STEPS:
                pool.sync_exposures()

    def _take_stock(
        self,
        pool: ExpertPool,
        here: Manifest,
        checkpoints: Checkpoints,
        views: tuple[int, ...],
        board: Board,
    ) -> list[ViewScore]:
        """Measure and save at this step where that is due; what was measured."""
        schedule, step = self._schedule, here.step
        scores: list[ViewScore] = []
        if schedule.due(step, schedule.eval_step) and views:
            self._between.enter("measuring")
            scores = self._evaluate(pool, here, views, board)
        if schedule.due(step, schedule.save_step):
            self._between.enter("saving")
            means = mean_scores(scores) if scores else {}
            checkpoints.save(replace(here, metrics=means), pool)
            checkpoints.rate(step, means.get("psnr_db"))
        return scores

    def _report(
        self,
        step: int,
        reports: Mapping[int, StretchReport],
        round_s: float,
        eta_s: float,
        board: Board,
    ) -> None:
        loss = sum(r.loss for r in reports.values()) / len(reports)
        rays_per_s = sum(r.n_rays for r in reports.values()) / round_s
        metrics.tell_round(self._job.job_id, reports, round_s)
        self._between.figures.add_round(step, self._job.outer_steps, reports, round_s, eta_s)
        board.add_scalar("train/loss", loss, step)
        board.add_scalar("train/rays_per_s", rays_per_s, step)
        self._events.append(
            "progress",
            step=step,
            of_steps=self._job.outer_steps,
            loss=loss,
            rays_per_s=round(rays_per_s),
            eta_s=round(eta_s, 1),
        )

    def _evaluate(
        self, pool: ExpertPool, manifest: Manifest, views: tuple[int, ...], board: Board
    ) -> list[ViewScore]:
        job = self._job
        last = manifest.step == self._schedule.outer_steps
        request = ViewsRequest(
            scene=str(job.scene_path()),
            downscale=job.downscale,
            views=tuple((view, "old") for view in views),
            tto=0,
            samples=job.ray_samples,
            lpips=job.lpips and last,
            folder=str(Path(self._dir) / "rendered") if last else None,
        )
        parts: list[list[ViewScore]] = self._events.insist(
            lambda: pool.results(lambda: request_scores(manifest, request, pool.shared(), pool.snapshots()))
        )
        scores = sorted((score for part in parts for score in part), key=lambda s: (s.role, s.file))
        earlier = [row for row in self._rows if row.step != manifest.step]
        self._rows = earlier + [metric_row(score, manifest.step) for score in scores]
        self._events.insist(lambda: save_metrics(Path(self._dir), self._rows))
        means = mean_scores(scores)
        self._between.figures.add_measured(manifest.step, {"old": means["psnr_db"]})
        metrics.tell(metrics.PSNR, means["psnr_db"], job=job.job_id, role="old")
        for name, value in means.items():
            board.add_scalar(f"val/{name}", value, manifest.step)
        self._events.append("metrics", step=manifest.step, psnr=means["psnr_db"], split="val", **means)
        return scores


def _weights(pool: ExpertPool, here: Manifest) -> Weights | None:
    snapshots = whole(pool.stamped_snapshots())
    return None if snapshots is None else Weights(here, pool.shared(), snapshots)


def _keep(checkpoints: Checkpoints, pool: ExpertPool, here: Manifest) -> None:
    """A checkpoint beside the schedule, of which nobody has measured how good it is.

    One of the schedule at the same step is the same, and may have been measured.
    """
    if checkpoints.has(here.step):
        return
    checkpoints.save(here, pool)
    checkpoints.rate(here.step, None)


def next_stride(stride: int, steps: int, seconds: float) -> int:
    """How many steps the next round may take, after one of at most `stride` that took so many and so long."""
    return max(1, min(10 * stride, round(ROUND_S * steps / seconds)))


def validation_views(scene: Scene, at_most: int) -> tuple[int, ...]:
    """Frame indices of at most so many validation views, evenly spread over the flight."""
    indices = [i for i, frame in enumerate(scene.frames) if frame.split == "val"]
    if len(indices) <= at_most:
        return tuple(indices)
    return tuple(indices[(2 * k + 1) * len(indices) // (2 * at_most)] for k in range(at_most))


def metric_row(score: ViewScore, step: int) -> MetricRow:
    """A view's scores as a row of the job's table."""
    return MetricRow(
        step=step,
        tto=score.tto,
        split=score.split,
        view=score.view,
        psnr_db=score.psnr_db,
        ssim=score.ssim,
        lpips=score.lpips,
        depth_median_m=score.depth_median_m,
        depth_mean_m=score.depth_mean_m,
        depth_changed_median_m=score.depth_changed_median_m,
        psnr_changed_db=score.psnr_changed_db,
        psnr_unchanged_db=score.psnr_unchanged_db,
        role=score.role,
        render_s=score.seconds,
    )

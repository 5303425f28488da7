"""`MetaCoordinator`: one training, adaptation or video job, from its folder to its summary."""

import logging
from pathlib import Path
from typing import Any

import ray

from actors.adapting import AdaptRun
from actors.figures import FigureLog, LiveFigures
from actors.filming import VideoRun
from actors.interlude import Interlude
from actors.offers import Answer, Offers
from actors.patience import PatientDiary
from actors.running import JobWithoutExperts
from actors.steering import Steering, Wish
from actors.training import TrainRun
from anerf import logs
from anerf.errors import JobError
from anerf.jobs.events import JobLog
from anerf.jobs.folder import read_accepted_job, trace_of_job
from anerf.jobs.learning import job_of
from anerf.jobs.spec import EvalJob, TrainJob, VideoJob

log = logging.getLogger(__name__)


@ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"control": 1, "live": 1})  # pyright: ignore[reportCallIssue]
class MetaCoordinator:
    """Owns the step, the shared background, evaluation and checkpoints of its job; experts own the weights.

    It writes progress, metrics, checkpoints and losses of experts to the job's events; the job's state is
    written by whoever runs the coordinator.
    """

    def __init__(self, job_dir: str) -> None:
        logs.of_job(Path(job_dir), trace=trace_of_job(Path(job_dir)))
        self._dir = job_dir
        job = read_accepted_job(Path(job_dir)).job
        self._job_id, self._op = job.job_id, job.op
        self._steering = Steering(adapts=isinstance(job, EvalJob))
        self._offers = Offers()
        self._figures = FigureLog(job.job_id, job.op)

    def run(self) -> dict[str, Any]:
        """Do the job; its summary.

        Raises:
            AnerfError: what went wrong, in a sentence; `retryable` says whether trying again may help.
        """
        job = job_of(self._dir)
        events = PatientDiary(JobLog(Path(self._dir)), self._steering.is_cancelled)
        between = Interlude(self._steering, self._offers, self._figures, events)
        if isinstance(job, TrainJob):
            log.info("training to step %d", job.outer_steps)
            return TrainRun(job, self._dir, events, between).run()
        if isinstance(job, EvalJob):
            log.info("adapting to batch %s", job.batch or "(the only one)")
            return AdaptRun(job, self._dir, events, between).run()
        if isinstance(job, VideoJob):
            log.info("filming along %s", job.camera_path)
            return VideoRun(job, self._dir, events, self._steering.is_cancelled).run()
        raise JobError(f"a {job.op} job is not for the coordinator: it is run by its own actor")

    @ray.method(concurrency_group="control")
    def cancel(self) -> None:
        """End the job at the next safe moment; `run` then raises `JobCancelled`."""
        self._steering.cancel()

    @ray.method(concurrency_group="control")
    def steer(self, wish: Wish) -> None:
        """Take in what somebody asks of the job; it is done before the next round.

        Raises:
            JobError: it is not for this kind of job.
        """
        if self._op == "video":
            raise JobError("a video job has no rounds to steer: it can only be cancelled")
        self._steering.take_in(wish)

    @ray.method(concurrency_group="control")
    def live_figures(self) -> LiveFigures:
        """Where the job stands, with its curves.

        Raises:
            JobWithoutExperts: it is a video; its diary says where it stands.
        """
        self._need_experts()
        return self._figures.figures()

    @ray.method(concurrency_group="live")
    def newest_offer(self, known: str | None) -> Answer:
        """The newest weights, for somebody who knows those of this mark; see `actors.live`.

        Raises:
            JobWithoutExperts: it is a video, and will never have any.
        """
        self._need_experts()
        return self._offers.answer(known)

    def _need_experts(self) -> None:
        if self._op == "video":
            raise JobWithoutExperts(
                f"job {self._job_id} makes a video and has no experts to look at: look at the checkpoint that"
                " it films"
            )

"""Running jobs as the viewer knows them: `anerf.viewer.live.LiveJobs` on Ray."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from actors.figures import LiveFigures
from actors.live import LiveScene as JobScene
from actors.names import JOB_PREFIX, NAMESPACE, RUN_PREFIX
from actors.running import JobNotRunning, JobWithoutExperts, NoAnswer, RunningJob
from actors.starting import AdaptationRequest, StartedJob, start_adaptation, start_job
from actors.steering import Change, Pause, Reset, Resume, Save, Step, Stop, Wish
from anerf.errors import JobError
from anerf.jobs.events import JobLog, fold
from anerf.jobs.folder import read_accepted_job
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.values import NAME
from anerf.viewer.live import Adaptation, Command, Film, JobNews, LiveScene, Rates

_LEARN = ("train", "eval")


class RayJobs:
    """Jobs of the output folder `out`. Safe for threads."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._started: dict[str, StartedJob] = {}
        self._running: dict[str, RunningJob] = {}
        self._scenes: dict[str, JobScene] = {}

    def running(self) -> Sequence[str]:
        """See `LiveJobs`."""
        named: Any = ray.util.list_named_actors(all_namespaces=True)
        names = [actor["name"] for actor in named if actor["namespace"] == NAMESPACE]
        ids = [
            name.removeprefix(prefix)
            for name in names
            for prefix in (JOB_PREFIX, RUN_PREFIX)
            if name.startswith(prefix)
        ]
        return sorted(job_id for job_id in ids if self._op(job_id) in _LEARN)

    def start(self, wish: Adaptation) -> str:
        """See `LiveJobs`."""
        rates = wish.rates
        request = AdaptationRequest(
            checkpoint=wish.checkpoint_uri,
            scene=wish.scene,
            batch=wish.batch,
            steps=wish.steps,
            encoding_lr=rates.encoding_lr,
            sigma_lr=rates.sigma_lr,
            color_lr=rates.color_lr,
            downscale=wish.downscale,
        )
        return self._keep(start_adaptation(request, self._out))

    def film(self, wish: Film) -> str:
        """See `LiveJobs`."""
        width, height = wish.size_px
        message = {
            "op": "video",
            "checkpoint_path": wish.checkpoint_uri,
            "prefix": "last",
            "camera_path": wish.path_file,
            "fps": wish.fps,
            "width": width,
            "height": height,
            "ray_samples": wish.samples,
            "flight": wish.flight,
        }
        given = {name: value for name, value in message.items() if value is not None}
        return self._keep(start_job(parse_job(given), self._out))

    def news(self, job_id: str) -> JobNews:
        """See `LiveJobs`."""
        try:
            return _news_of(self._job(job_id).figures())
        except (JobNotRunning, JobWithoutExperts, NoAnswer):
            return self._told(job_id)

    def scene(self, job_id: str, known: str | None) -> LiveScene | None:
        """See `LiveJobs`."""
        with self._lock:
            scene = self._scenes.setdefault(job_id, JobScene(job_id))
        try:
            newest = scene.newest(known)
        except JobNotRunning:
            with self._lock:
                self._scenes.pop(job_id, None)
            return None
        except (JobWithoutExperts, NoAnswer):
            return None
        return None if newest is None else LiveScene(newest.mark, newest.step, newest.model)

    def steer(self, job_id: str, command: Command, steps: int = 1) -> None:
        """See `LiveJobs`."""
        wishes: dict[Command, Wish] = {
            "pause": Pause(),
            "resume": Resume(),
            "step": Step(steps),
            "stop": Stop(),
            "reset": Reset(),
            "save": Save(),
        }
        self._job(job_id).steer(wishes[command])

    def change(self, job_id: str, rates: Rates) -> None:
        """See `LiveJobs`."""
        change = Change(encoding_lr=rates.encoding_lr, sigma_lr=rates.sigma_lr, color_lr=rates.color_lr)
        self._job(job_id).steer(change)

    def cancel(self, job_id: str) -> None:
        """See `LiveJobs`."""
        started = self._started.get(job_id)
        if started is not None:
            started.cancel()
        else:
            self._job(job_id).cancel()

    def leave(self) -> None:
        """Cancel what was started here and has nobody else to look after it. Returns at once."""
        for started in list(self._started.values()):
            if started.owned:
                started.cancel()

    def close(self) -> None:
        """As `leave`, and wait for the end of all of it: they end side by side."""
        self.leave()
        for started in list(self._started.values()):
            started.close()

    def _keep(self, started: StartedJob) -> str:
        with self._lock:
            self._started[started.job_id] = started
        return started.job_id

    def _job(self, job_id: str) -> RunningJob:
        with self._lock:
            return self._running.setdefault(job_id, RunningJob(job_id))

    def _op(self, job_id: str) -> str | None:
        """What kind of job it is; None where its folder is not one of ours."""
        try:
            return read_accepted_job(self._out / job_id).job.op
        except JobError:
            return None

    def _told(self, job_id: str) -> JobNews:
        """What the job's diary says, of one that waits, has ended, or does not learn."""
        if not NAME.fullmatch(job_id):  # a browser may send what was never offered, such as a path
            raise JobError(f"{job_id[:100]!r} is no job's id: choose a job of the list")
        accepted = read_accepted_job(self._out / job_id)
        record = fold(JobLog(accepted.folder).read()[0])
        message = record.message
        started = self._started.get(job_id)
        if started is not None and record.state is JobState.QUEUED:
            message = started.show().waiting_for
        return JobNews(
            job_id,
            accepted.job.op,
            str(record.state),
            message,
            record.step,
            record.of_steps,
            eta_s=math.nan if record.eta_s is None else record.eta_s,
        )


def _news_of(figures: LiveFigures) -> JobNews:
    return JobNews(
        figures.job_id,
        figures.op,
        figures.state,
        step=figures.step,
        of_steps=figures.of_steps,
        loss=figures.loss,
        rays_per_s=figures.rays_per_s,
        eta_s=figures.eta_s,
        curve_steps=figures.curve_steps,
        loss_curves=figures.loss_curves,
        loss_curve=figures.loss_curve,
        measured=tuple((m.step, m.role, m.psnr_db) for m in figures.measured),
    )

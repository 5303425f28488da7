"""Starting a job from within the cluster: by the Mediator where there is one, else on one's own."""

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.names import MEDIATOR, NAMESPACE, RUN_PREFIX
from actors.runner import RayRunner
from actors.running import NoAnswer
from actors.scheduler import Scheduler
from anerf.errors import AnerfError, JobError
from anerf.jobs.folder import accept_job
from anerf.jobs.spec import EvalJob, Job, parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, JobTable
from anerf.outage import outage

logger = logging.getLogger(__name__)

_TICK_S = 0.2
_ANSWER_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 20.0


class StartedJob(Protocol):
    """A job that was started from here."""

    job_id: str
    owned: bool
    """Whether it ends with this process; else the Mediator looks after it."""

    def show(self) -> JobSummary:
        """Where it stands; `waiting_for` says why it does not run yet."""
        ...

    def cancel(self) -> None:
        """End it. Harmless where it has ended."""
        ...

    def close(self) -> None:
        """The viewer that started it ends: an owned job is cancelled and its end is waited for."""
        ...


@dataclass(frozen=True)
class AdaptationRequest:
    """An adaptation as a person asks for it. What is None is the job's default."""

    checkpoint: str
    """A checkpoint's folder (one step's, or a job's with `prefix`), as it is known to be good."""
    scene: str
    batch: str
    """Tag of the flight to adapt to."""
    steps: int = 200
    encoding_lr: float | None = None
    sigma_lr: float | None = None
    color_lr: float | None = None
    downscale: float | None = None
    prefix: str = "last"
    save: bool = True
    """Keep the adapted checkpoint when all steps are done."""
    priority: int = 0
    """Above that of a running training, this one makes room meanwhile."""

    def job(self) -> EvalJob:
        """The job, with an id made up for it.

        Raises:
            JobError: a value is out of its limits; the sentence names all of them.
        """
        fields: dict[str, Any] = {
            "op": "eval",
            "checkpoint_path": self.checkpoint,
            "prefix": self.prefix,
            "scene": self.scene,
            "batch": self.batch,
            "tto": [self.steps],
            "encoding_lr": self.encoding_lr,
            "sigma_lr": self.sigma_lr,
            "color_lr": self.color_lr,
            "downscale": self.downscale,
            "lpips": False,
            "save_adapted": self.save,
            "priority": self.priority,
        }
        job = parse_job({name: value for name, value in fields.items() if value is not None})
        assert isinstance(job, EvalJob)
        return job


def start_adaptation(request: AdaptationRequest, out: Path) -> StartedJob:
    """Start an adaptation; its live result is `LiveScene(started.job_id)` as soon as it learns.

    Args:
        out: Folder of jobs, for one that is started on one's own.

    Raises:
        JobError: the request is no job. QueueFull: too many jobs wait already.
    """
    return start_job(request.job(), out)


def start_job(job: Job, out: Path) -> StartedJob:
    """Start a job with absolute paths: recorded by the Mediator, or in `out` by this process."""
    try:
        mediator: Any = ray.get_actor(MEDIATOR, namespace=NAMESPACE)
    except ValueError:
        return OwnedJob(job, out)
    return MediatedJob(job, mediator)


class MediatedJob:
    """A job that the Mediator runs when its turn comes.

    Every method raises `NoAnswer` or `StorageUnavailable` where the Mediator cannot be asked or write.
    """

    owned = False

    def __init__(self, job: Job, mediator: Any) -> None:
        """Hand it in.

        Raises:
            JobError: the Mediator does not take it. QueueFull: too many wait.
        """
        self.job_id = job.job_id
        self._mediator = mediator
        result = self._ask("submit", json.dumps(job.given()).encode())
        if result.state is JobState.REJECTED:
            raise JobError(result.message)

    def show(self) -> JobSummary:
        """Where it stands."""
        return self._ask("show", self.job_id)

    def cancel(self) -> None:
        """End it."""
        self._ask("cancel", self.job_id)

    def close(self) -> None:
        """Nothing: the job goes on."""

    def _ask(self, method: str, *arguments: object) -> Any:
        try:
            return ray.get(getattr(self._mediator, method).remote(*arguments), timeout=_ANSWER_TIMEOUT_S)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, OSError):
                raise outage("the Mediator's output folder", cause) from error
            raise (cause if isinstance(cause, AnerfError) else error) from error
        except (RayActorError, GetTimeoutError) as error:
            raise NoAnswer("the Mediator does not answer: try again, or see `anerf status`") from error


class OwnedJob:
    """A job that this process looks after, as `anerf run` does; it ends with this process at the latest."""

    owned = True

    def __init__(self, job: Job, out: Path) -> None:
        """Record it in its folder below `out`, and start it.

        Raises:
            JobError: there is a job of this id already.
        """
        self.job_id = job.job_id
        self._lock = threading.Lock()
        self._table = JobTable(out)
        self._table.adopt(accept_job(job, out, origin="run"))
        self._wake = threading.Event()
        self._scheduler = Scheduler(self._table, RayRunner(RUN_PREFIX, self._wake.set), origin="run")
        self._thread = threading.Thread(target=self._drive, name=f"drives {job.job_id}", daemon=True)
        self._thread.start()

    def show(self) -> JobSummary:
        """Where it stands."""
        with self._lock:
            return self._table.show(self.job_id)

    def cancel(self) -> None:
        """End it."""
        with self._lock:
            self._scheduler.cancel(self.job_id)
        self._wake.set()

    def close(self) -> None:
        """Cancel it, and wait for its end."""
        self.cancel()
        self._thread.join(_END_TIMEOUT_S)

    def _drive(self) -> None:
        while True:
            pause_s = _TICK_S
            with self._lock:
                try:
                    self._scheduler.tick()
                    pause_s = self._scheduler.pause_s(_TICK_S)
                    if self._table.show(self.job_id).record.state.is_terminal:
                        return
                except OSError as error:
                    logger.error("states cannot be written, trying again: %s", error)
                except JobError as error:
                    logger.error("job %s ends, its folder was removed: %s", self.job_id, error)
                    return
            self._wake.wait(pause_s)
            self._wake.clear()

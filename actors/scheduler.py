"""Whose turn it is: starts queued jobs, tries failed ones again, cancels.

The policy without the machinery: a `Runner` does the running, the `JobTable` remembers. The Mediator
drives one for every job of the cluster, `anerf run` one for a single job.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from anerf.errors import AnerfError, JobCancelled, JobError
from anerf.jobs.folder import AcceptedJob, Origin
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, JobTable

logger = logging.getLogger(__name__)

LEARNING_LIMIT = 1
"""Jobs that train or adapt at a time: each takes the whole machine."""
VIEW_LIMIT = 2
"""View jobs beside them."""
FIRST_BACKOFF_S = 2.0
MAX_BACKOFF_S = 60.0
CANCEL_GRACE_S = 20.0
"""A job that has not ended this long after it was told to is ended by force."""


@dataclass(frozen=True)
class Outcome:
    """How a job's run ended; `error` is None when it succeeded."""

    job_id: str
    error: BaseException | None = None
    summary: str = ""


class Runner(Protocol):
    """Runs jobs somewhere. No method blocks for longer than starting a process takes."""

    def start(self, accepted: AcceptedJob) -> None:
        """Start a job; its outcome comes through `ended`, also when it cannot be started."""
        ...

    def ask_to_stop(self, job_id: str) -> None:
        """Tell a running job to end after its current step."""
        ...

    def kill(self, job_id: str) -> None:
        """End a running job at once."""
        ...

    def ended(self) -> list[Outcome]:
        """Jobs that have ended since the last call."""
        ...


class Scheduler:
    """Drives the jobs of one origin through their states. Not safe for threads."""

    def __init__(
        self, table: JobTable, runner: Runner, origin: Origin, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._runner = runner
        self._origin = origin
        self._clock = clock
        self._running: dict[str, str] = {}
        """Operation by job id."""
        self._not_before: dict[str, float] = {}
        self._kill_at: dict[str, float] = {}
        """By job id, for jobs that were told to end."""

    def put_back(self, jobs: Iterable[JobSummary]) -> None:
        """Queue again what was running when its scheduler died; the interrupted attempt does not count."""
        for job in jobs:
            if self._is_ours(job) and job.record.state is JobState.RUNNING:
                attempt = max(0, job.record.attempt - 1)
                self._table.change(job.job_id, JobState.QUEUED, "put back after a restart", attempt)

    def tick(self) -> None:
        """Take in what has ended, start what may start."""
        for outcome in self._runner.ended():
            self._conclude(outcome)
        for job_id, deadline in list(self._kill_at.items()):
            if self._clock() >= deadline:
                logger.warning("job %s did not stop within %g s: ending it by force", job_id, CANCEL_GRACE_S)
                self._kill_at[job_id] = math.inf
                self._runner.kill(job_id)
        for job in self._table.unfinished():
            if self._is_ours(job) and job.record.state is JobState.QUEUED:
                self._start_or_wait(job)

    def cancel(self, job_id: str) -> JobSummary:
        """End a job: a queued one now, a running one after its current step; an ended one stays as it is.

        Raises:
            JobError: there is no such job, or somebody else looks after it.
        """
        job = self._table.show(job_id)
        if not self._is_ours(job) and not job.record.state.is_terminal:
            raise JobError(f"job {job_id} belongs to the `anerf run` that started it: press Ctrl-C there")
        if job.record.state is JobState.QUEUED:
            self._not_before.pop(job_id, None)
            self._table.change(job_id, JobState.CANCELLED, "cancelled before it ran")
        elif job_id in self._running and job_id not in self._kill_at:
            self._kill_at[job_id] = self._clock() + CANCEL_GRACE_S
            self._runner.ask_to_stop(job_id)
        return self._table.show(job_id)

    def _is_ours(self, job: JobSummary) -> bool:
        return job.origin == self._origin

    def _start_or_wait(self, job: JobSummary) -> None:
        if self._not_before.get(job.job_id, 0.0) > self._clock():
            self._table.wait_for(job.job_id, "until the pause after its last attempt is over")
            return
        views = [job_id for job_id, op in self._running.items() if op == "view"]
        learning = [job_id for job_id, op in self._running.items() if op != "view"]
        rivals, limit = (views, VIEW_LIMIT) if job.op == "view" else (learning, LEARNING_LIMIT)
        if len(rivals) >= limit:
            self._table.wait_for(job.job_id, f"until {' or '.join(rivals)} has ended ({limit} at a time)")
            return
        self._not_before.pop(job.job_id, None)
        self._running[job.job_id] = job.op
        self._table.change(job.job_id, JobState.RUNNING, attempt=job.record.attempt + 1)
        self._runner.start(self._table.accepted(job.job_id))

    def _conclude(self, outcome: Outcome) -> None:
        job_id, error = outcome.job_id, outcome.error
        del self._running[job_id]
        asked_to_stop = self._kill_at.pop(job_id, None) is not None
        if error is None:
            self._table.change(job_id, JobState.SUCCEEDED, outcome.summary)
            return
        text = _reason(error)
        if asked_to_stop or isinstance(error, JobCancelled):
            self._table.change(job_id, JobState.CANCELLED, text)
            return
        attempt = self._table.show(job_id).record.attempt
        of = self._table.accepted(job_id).job.max_attempts
        if not is_retryable(error):
            self._table.change(job_id, JobState.FAILED, text)
        elif attempt >= of:
            self._table.change(job_id, JobState.FAILED, f"attempt {attempt} of {of} failed: {text}")
        else:
            wait_s = min(FIRST_BACKOFF_S * 2 ** (attempt - 1), MAX_BACKOFF_S)
            self._not_before[job_id] = self._clock() + wait_s
            message = f"attempt {attempt} of {of} failed, the next starts in {wait_s:g} s: {text}"
            self._table.change(job_id, JobState.QUEUED, message)


class MachineFailure(AnerfError):
    """A process, a node or a disk was lost; the job itself may be fine."""

    retryable = True


def is_retryable(error: BaseException) -> bool:
    """Whether the same work may succeed when tried again."""
    return isinstance(error, AnerfError) and error.retryable


def _reason(error: BaseException) -> str:
    """What a user reads: our own errors speak for themselves, of others the type helps to find them."""
    return str(error) if isinstance(error, AnerfError) else f"{type(error).__name__}: {error}"

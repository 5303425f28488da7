"""Drives jobs through their states: starts them in turn, tries them again, stops them.

The policy without the machinery: whose turn it is says `anerf.jobs.turns`, what is tried again
`anerf.jobs.faults`; a `Runner` does the running, the `JobTable` remembers. The Mediator drives one for every
job of the cluster, `anerf run` one for a single job.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

from anerf.errors import AnerfError, JobCancelled, JobError
from anerf.jobs.faults import Fault, judge, reason
from anerf.jobs.folder import AcceptedJob, Origin
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, JobTable
from anerf.jobs.turns import Resources, Turn, give_turns, turn_of
from anerf.outage import is_outage

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 1.3
"""A job that was cancelled and has not ended this long after is ended by force: its last checkpoint stays."""
STOP_GRACE_S = 20.0
"""The same for a job that makes room or has passed its deadline: nobody waits for it to go."""

KEPT_PAUSE_S = 10.0
"""A job whose process was lost and that pauses no longer than this keeps its place among those that run."""


@dataclass(frozen=True)
class Outcome:
    """How a job's run ended; `error` is None when it succeeded."""

    job_id: str
    error: BaseException | None = None
    summary: str = ""


class Runner(Protocol):
    """Runs jobs somewhere. No method blocks for longer than starting a process takes."""

    def capacity(self) -> Resources:
        """What there is to run jobs with, in use or not."""
        ...

    def want(self, total: Resources | None) -> None:
        """Hear what a waiting job needs the whole cluster to hold; None: no job needs more than there is."""
        ...

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

    def clear(self, job_id: str) -> None:
        """End whatever a job that does not run has left behind; harmless where there is nothing."""
        ...


@dataclass(frozen=True)
class _Run:
    turn: Turn
    saved_step: int
    """Of its last checkpoint when the run began."""


@dataclass
class _Stop:
    """Why a running job was asked to end, and when it is ended by force."""

    why: Literal["cancel", "deadline", "room"]
    message: str
    kill_at: float
    forced: bool = False


class Scheduler:
    """Drives the jobs of one origin through their states. Not safe for threads.

    A method that raises OSError (the disk is full) has changed nothing that is not on the disk: call it
    again.
    """

    def __init__(
        self, table: JobTable, runner: Runner, origin: Origin, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._runner = runner
        self._origin = origin
        self._clock = clock
        self._running: dict[str, _Run] = {}
        self._ended: deque[Outcome] = deque()
        self._not_before: dict[str, float] = {}
        self._kept: dict[str, Turn] = {}
        """Places of jobs that pause for a moment since a process was lost: their experts may be there."""
        self._stops: dict[str, _Stop] = {}
        self._deadlines: dict[str, float] = {}
        """On our clock, so that a wall clock that is set does not end jobs."""

    def put_back(self, jobs: Iterable[JobSummary]) -> None:
        """Queue again what was running when its scheduler died, unless it had just ended."""
        for job in jobs:
            if self._is_ours(job) and job.record.state is JobState.RUNNING:
                if self._table.accepted(job.job_id).has_summary():
                    self._table.change(job.job_id, JobState.SUCCEEDED, "had ended before a restart")
                else:
                    self._table.change(job.job_id, JobState.QUEUED, "put back after a restart")

    def tick(self) -> None:
        """Take in what has ended, stop what must stop, start what may start.

        Raises:
            OSError: the disk does not take what has changed; a job whose folder was removed is forgotten.
        """
        try:
            self._tick()
        except FileNotFoundError:
            for job_id in self._table.forget_removed():
                self._forget(job_id)
            raise

    def _tick(self) -> None:
        self._ended.extend(self._runner.ended())
        while self._ended:
            if self._ended[0].job_id in self._running:
                self._conclude(self._ended[0])
            self._ended.popleft()
        # A start may be on the disk although the disk said that it was not, and the job was not started.
        self.put_back(job for job in self._table.unfinished() if job.job_id not in self._running)
        ours = [job for job in self._table.unfinished() if self._is_ours(job)]
        for job in ours:
            self._keep_deadline(job)
        self._force_late_ones()
        self._give_turns([job for job in ours if job.record.state is JobState.QUEUED])

    def pause_s(self, at_most_s: float) -> float:
        """How long the next tick may wait, unless a job ends: until one has to be ended by force."""
        due = [stop.kill_at - self._clock() for stop in self._stops.values() if not stop.forced]
        return max(0.0, min([at_most_s, *due]))

    def cancel(self, job_id: str) -> JobSummary:
        """End a job: a queued one now, a running one after its current step; an ended one stays as it is.

        Raises:
            JobError: there is no such job, or somebody else looks after it.
        """
        job = self._table.show(job_id)
        if not self._is_ours(job) and not job.record.state.is_terminal:
            raise JobError(f"job {job_id} belongs to the `anerf run` that started it: press Ctrl-C there")
        if job.record.state is JobState.QUEUED:
            self._end_queued(job_id, JobState.CANCELLED, "cancelled before it ran")
        elif job_id in self._running:
            self._stop(job_id, _Stop("cancel", "cancelled", self._clock() + CANCEL_GRACE_S))
        return self._table.show(job_id)

    def _is_ours(self, job: JobSummary) -> bool:
        return job.origin == self._origin

    def _give_turns(self, queued: list[JobSummary]) -> None:
        total = self._runner.capacity()
        ready, kept = [], []
        for job in queued:
            if self._not_before.get(job.job_id, 0.0) > self._clock():
                self._table.wait_for(job.job_id, "until the pause after its last attempt is over")
                kept += [self._kept[job.job_id]] if job.job_id in self._kept else []
            elif job.job_id not in self._running and not self._is_over(job.job_id):
                ready.append(turn_of(self._table.accepted(job.job_id).job, total))
        running = [run.turn for run in self._running.values()]
        turns = give_turns(ready, running + kept, total, self._stops)
        self._runner.want(turns.beyond)
        for job_id, why in turns.waiting.items():
            self._table.wait_for(job_id, why)
        for job_id, room_for in turns.make_room.items():
            message = f"made room for {room_for}"
            self._stop(job_id, _Stop("room", message, self._clock() + STOP_GRACE_S))
        of = {turn.job_id: turn for turn in ready}
        for job_id in turns.start:
            record = self._table.show(job_id).record
            self._table.change(job_id, JobState.RUNNING, attempt=record.attempt + 1)
            self._not_before.pop(job_id, None)
            self._kept.pop(job_id, None)
            self._running[job_id] = _Run(of[job_id], record.saved_step)
            self._runner.start(self._table.accepted(job_id))

    def _is_over(self, job_id: str) -> bool:
        """Whether a job must not start any more, since its deadline has passed."""
        return self._deadlines.get(job_id, math.inf) <= self._clock()

    def _keep_deadline(self, job: JobSummary) -> None:
        accepted = self._table.accepted(job.job_id)
        limit_s = accepted.job.deadline_s
        if limit_s is None:
            return
        if job.job_id not in self._deadlines:
            age_s = (datetime.now(UTC) - datetime.fromisoformat(accepted.accepted_at)).total_seconds()
            # A wall clock that was set back must not make a deadline later than it can be.
            self._deadlines[job.job_id] = self._clock() + limit_s - max(0.0, age_s)
        if self._deadlines[job.job_id] > self._clock():
            return
        message = f"its deadline, {limit_s:g} s after its acceptance, has passed"
        if job.job_id in self._running:
            self._stop(job.job_id, _Stop("deadline", message, self._clock() + STOP_GRACE_S))
        elif job.record.state is JobState.QUEUED:
            self._end_queued(job.job_id, JobState.FAILED, message)

    def _stop(self, job_id: str, stop: _Stop) -> None:
        """Ask a running job to end; a reason that leaves it less time replaces an earlier one."""
        earlier = self._stops.get(job_id)
        if earlier is None or (stop.why == "cancel" and earlier.why != "cancel"):
            self._stops[job_id] = stop
            self._runner.ask_to_stop(job_id)

    def _force_late_ones(self) -> None:
        for job_id, stop in self._stops.items():
            if not stop.forced and self._clock() >= stop.kill_at:
                logger.warning("job %s (%s) has not stopped yet: ending it by force", job_id, stop.message)
                stop.forced = True
                self._runner.kill(job_id)

    def _end_queued(self, job_id: str, state: JobState, message: str) -> None:
        self._table.change(job_id, state, message)
        self._not_before.pop(job_id, None)
        self._kept.pop(job_id, None)
        self._deadlines.pop(job_id, None)
        self._runner.clear(job_id)

    def _conclude(self, outcome: Outcome) -> None:
        job_id, error = outcome.job_id, outcome.error
        stop = self._stops.get(job_id)
        state = JobState.SUCCEEDED
        if error is None:
            self._table.change(job_id, state, outcome.summary)
        elif stop is not None or isinstance(error, JobCancelled):
            state = _after_stop(stop)
            self._table.change(job_id, state, self._stopped_text(job_id, stop, error))
        elif self._table.accepted(job_id).has_summary():
            self._table.change(job_id, state, "its process was lost after it had ended")
        else:
            state = self._fail_or_queue(job_id, error)
        if state.is_terminal or (stop is not None and stop.forced):
            self._runner.clear(job_id)
        if state.is_terminal:
            self._deadlines.pop(job_id, None)
        self._stops.pop(job_id, None)
        del self._running[job_id]

    def _forget(self, job_id: str) -> None:
        logger.warning("job %s: its folder was removed, and the job is forgotten", job_id)
        if self._running.pop(job_id, None) is not None:
            self._runner.kill(job_id)
        self._runner.clear(job_id)
        for known in (self._stops, self._kept, self._not_before, self._deadlines):
            known.pop(job_id, None)

    def _fail_or_queue(self, job_id: str, error: BaseException) -> JobState:
        record = self._table.show(job_id).record
        got_on = record.saved_step > self._running[job_id].saved_step
        failures = 0 if got_on else record.failures + (not is_outage(error))
        verdict = judge(error, failures, self._table.accepted(job_id).job.max_attempts)
        state = JobState.FAILED if verdict.pause_s is None else JobState.QUEUED
        if verdict.fault is Fault.OURS:
            logger.error("job %s: %s", job_id, verdict.message, exc_info=error)
        self._table.change(job_id, state, verdict.message, failures=failures, fault=verdict.fault)
        if verdict.pause_s is not None:
            self._not_before[job_id] = self._clock() + verdict.pause_s
            if isinstance(error, MachineFailure) and verdict.pause_s <= KEPT_PAUSE_S:
                self._kept[job_id] = replace(self._running[job_id].turn, can_make_room=False)
        return state

    def _stopped_text(self, job_id: str, stop: _Stop | None, error: BaseException) -> str:
        if isinstance(error, JobCancelled):
            told = str(error)
        elif stop is not None and stop.forced:
            told = "ended by force"
        else:
            told = reason(error)
        if stop is None or stop.why == "cancel":
            text = told
        else:
            text = f"{stop.message}: {told}"
        saved_step = self._table.show(job_id).record.saved_step
        if isinstance(error, JobCancelled) or saved_step == 0:
            return text
        return f"{text}; the checkpoint of step {saved_step} is kept"


class MachineFailure(AnerfError):
    """A process, a node or a disk was lost; the job itself may be fine."""

    retryable = True


def _after_stop(stop: _Stop | None) -> JobState:
    match stop:
        case _Stop(why="room"):
            return JobState.QUEUED
        case _Stop(why="deadline"):
            return JobState.FAILED
        case _:
            return JobState.CANCELLED

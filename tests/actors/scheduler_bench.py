"""A scheduler over jobs that run in threads, with a clock of our own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

import pytest

from actors.scheduler import MachineFailure, Outcome, Scheduler
from anerf.jobs.folder import AcceptedJob
from anerf.jobs.spec import parse_job
from anerf.jobs.table import JobTable
from anerf.jobs.turns import Resources


class ThreadRunner:
    """Runs jobs as functions in threads; `stop` is set when one is asked to end."""

    def __init__(self, work: Callable[[str, threading.Event], None]) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(8)
        self._runs: dict[str, Future[None]] = {}
        self._stops: dict[str, threading.Event] = {}
        self.started: list[str] = []
        self.cleared: list[str] = []
        self.wanted: Resources | None = None

    def want(self, total: Resources | None) -> None:
        self.wanted = total

    def capacity(self) -> Resources:
        return Resources(cpus=4)

    def clear(self, job_id: str) -> None:
        self.cleared.append(job_id)

    def start(self, accepted: AcceptedJob) -> None:
        job_id = accepted.job.job_id
        self.started.append(job_id)
        self._stops[job_id] = threading.Event()
        self._runs[job_id] = self._threads.submit(self._work, job_id, self._stops[job_id])

    def ask_to_stop(self, job_id: str) -> None:
        self._stops[job_id].set()

    def kill(self, job_id: str) -> None:
        self._runs[job_id] = Future()
        self._runs[job_id].set_exception(MachineFailure("killed"))

    def await_all(self) -> None:
        """Return when every job has ended that was started, heard of or not."""
        wait(self._runs.values())

    def ended(self) -> list[Outcome]:
        done = [job_id for job_id, run in self._runs.items() if run.done()]
        return [Outcome(job_id, self._runs.pop(job_id).exception()) for job_id in done]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class SetClock:
    """The wall clock, set by so much."""

    def __init__(self, off_by_s: float) -> None:
        self._off_by = timedelta(seconds=off_by_s)

    def now(self, zone):
        return datetime.now(zone) + self._off_by

    def fromisoformat(self, text):
        return datetime.fromisoformat(text)


class Bench:
    """A table, a scheduler and a clock of our own."""

    def __init__(self, out, work=lambda job_id, stop: None):
        self.clock = Clock()
        self.table = JobTable(out)
        self.runner = ThreadRunner(work)
        self.scheduler = Scheduler(self.table, self.runner, "kafka", self.clock)

    def submit(self, job_id, op="train", **fields):
        content = {"op": op, "job_id": job_id, "scene": "/s", "checkpoint_path": "/c", **fields}
        self.table.submit(parse_job(content), "kafka")

    def state(self, job_id):
        return self.table.show(job_id).record.state

    def message(self, job_id):
        return self.table.show(job_id).record.message

    def tick_until(self, job_id, state):
        for _ in range(500):
            self.scheduler.tick()
            if self.state(job_id) is state:
                return
            threading.Event().wait(0.01)
        pytest.fail(f"{job_id} stays {self.state(job_id)}: {self.message(job_id)}")

"""Whose turn it is, what is tried again, and what a cancel does, over jobs that run in threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from actors.scheduler import CANCEL_GRACE_S, FIRST_BACKOFF_S, MachineFailure, Outcome, Scheduler
from anerf.errors import InputError, JobCancelled, JobError
from anerf.jobs.folder import AcceptedJob, accept_job
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable


class ThreadRunner:
    """Runs jobs as functions in threads; `stop` is set when one is asked to end."""

    def __init__(self, work: Callable[[str, threading.Event], None]) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(8)
        self._runs: dict[str, Future[None]] = {}
        self._stops: dict[str, threading.Event] = {}
        self.started: list[str] = []

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

    def ended(self) -> list[Outcome]:
        done = [job_id for job_id, run in self._runs.items() if run.done()]
        return [Outcome(job_id, self._runs.pop(job_id).exception()) for job_id in done]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


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


@pytest.fixture
def gate():
    """Opened, it lets running jobs end; it is open in the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def test_a_job_runs_to_its_end(tmp_path):
    bench = Bench(tmp_path)
    bench.submit("a")
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.table.show("a").record.attempt == 1


def test_one_learning_job_at_a_time_in_order_and_views_beside_it(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    for job_id, op in (("t1", "train"), ("e1", "eval"), ("v1", "view"), ("v2", "view"), ("v3", "view")):
        bench.submit(job_id, op)
    bench.scheduler.tick()
    bench.scheduler.tick()
    assert bench.runner.started == ["t1", "v1", "v2"]
    assert bench.table.show("e1").waiting_for == "until t1 has ended (1 at a time)"
    assert bench.table.show("v3").waiting_for == "until v1 or v2 has ended (2 at a time)"
    gate.set()
    bench.tick_until("e1", JobState.SUCCEEDED)
    bench.tick_until("v3", JobState.SUCCEEDED)


def test_a_fault_of_the_machine_is_tried_again_after_a_pause(tmp_path):
    failures = [MachineFailure("node lost"), MachineFailure("node lost again"), None]

    def work(job_id, stop):
        if failure := failures.pop(0):
            raise failure

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=3)
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    assert bench.message("a") == "attempt 1 of 3 failed, the next starts in 2 s: node lost"
    bench.scheduler.tick()
    assert bench.state("a") is JobState.QUEUED
    bench.clock.now += FIRST_BACKOFF_S
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    assert bench.message("a").startswith("attempt 2 of 3 failed, the next starts in 4 s")
    bench.clock.now += 2 * FIRST_BACKOFF_S
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.table.show("a").record.attempt == 3


def test_after_the_last_attempt_it_has_failed(tmp_path):
    def work(job_id, stop):
        raise MachineFailure("node lost")

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=1)
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a") == "attempt 1 of 1 failed: node lost"


@pytest.mark.parametrize(
    ("error", "message"),
    [(InputError("no such scene"), "no such scene"), (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0")],
)
def test_what_would_fail_again_fails_at_once(tmp_path, error, message):
    def work(job_id, stop):
        raise error

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a") == message
    assert bench.runner.started == ["a"]


def test_a_queued_job_is_cancelled_at_once(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    bench.submit("a")
    bench.submit("b")
    bench.scheduler.tick()
    assert bench.scheduler.cancel("b").record.state is JobState.CANCELLED
    gate.set()
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.runner.started == ["a"]
    assert bench.scheduler.cancel("b").record.state is JobState.CANCELLED


def test_a_running_job_is_asked_to_end(tmp_path):
    def work(job_id, stop):
        assert stop.wait(10)
        raise JobCancelled("stopped at step 7")

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.scheduler.tick()
    assert bench.scheduler.cancel("a").record.state is JobState.RUNNING
    bench.tick_until("a", JobState.CANCELLED)
    assert bench.message("a") == "stopped at step 7"


def test_one_that_does_not_listen_is_ended_by_force_and_not_tried_again(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    bench.submit("a")
    bench.scheduler.tick()
    bench.scheduler.cancel("a")
    bench.scheduler.cancel("a")
    bench.scheduler.tick()
    assert bench.state("a") is JobState.RUNNING
    bench.clock.now += CANCEL_GRACE_S
    bench.tick_until("a", JobState.CANCELLED)


def test_a_job_in_its_pause_can_be_cancelled(tmp_path):
    def work(job_id, stop):
        raise MachineFailure("node lost")

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    assert bench.scheduler.cancel("a").record.state is JobState.CANCELLED
    bench.clock.now += 100
    bench.scheduler.tick()
    assert bench.runner.started == ["a"]


def test_after_a_restart_what_ran_is_queued_again_and_the_attempt_does_not_count(tmp_path, gate):
    first = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    first.submit("a")
    first.submit("b")
    first.scheduler.tick()
    second = Bench(tmp_path)
    second.table.refresh()
    second.scheduler.put_back(second.table.unfinished())
    assert second.message("a") == "put back after a restart"
    second.tick_until("b", JobState.SUCCEEDED)
    assert second.runner.started == ["a", "b"]
    assert second.table.show("a").record.attempt == 1


def test_jobs_of_anerf_run_are_left_to_it(tmp_path):
    bench = Bench(tmp_path)
    accept_job(parse_job({"op": "train", "scene": "/s", "job_id": "r"}), tmp_path, "run")
    bench.table.refresh()
    bench.scheduler.put_back(bench.table.unfinished())
    bench.scheduler.tick()
    assert bench.runner.started == []
    with pytest.raises(JobError, match="belongs to the `anerf run` that started it"):
        bench.scheduler.cancel("r")

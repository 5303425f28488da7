"""Whose turn it is, what is tried again, and what a cancel does, over jobs that run in threads."""

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from actors.scheduler import CANCEL_GRACE_S, STOP_GRACE_S, MachineFailure, Outcome, Scheduler
from anerf.errors import InputError, JobCancelled, JobError
from anerf.jobs.events import JobLog
from anerf.jobs.faults import FIRST_PAUSE_S
from anerf.jobs.folder import SUMMARY_FILE, AcceptedJob, accept_job
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
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
    assert bench.table.show("e1").waiting_for == "for 4 CPUs, of which 0 are free: until t1 has ended"
    assert bench.table.show("v3").waiting_for == "until v1 or v2 has ended (2 views at a time)"
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
    bench.clock.now += FIRST_PAUSE_S
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    assert bench.message("a").startswith("attempt 2 of 3 failed, the next starts in 4 s")
    bench.clock.now += 2 * FIRST_PAUSE_S
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.table.show("a").record.attempt == 3


def test_after_the_last_attempt_it_has_failed(tmp_path):
    def work(job_id, stop):
        raise MachineFailure("node lost")

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=1)
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a") == "attempt 1 of 1 failed: node lost"


def test_a_wrong_input_fails_at_once(tmp_path):
    def work(job_id, stop):
        raise InputError("no such scene")

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a") == "no such scene"
    assert bench.runner.started == ["a"]


def test_a_fault_of_ours_is_tried_once_more_and_named_as_ours(tmp_path):
    def work(job_id, stop):
        raise ZeroDivisionError("by 0")

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=9)
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    bench.clock.now += FIRST_PAUSE_S
    bench.tick_until("a", JobState.FAILED)
    assert bench.runner.started == ["a", "a"]
    assert "attempt 2 of 2 failed: a fault of anerf's own" in bench.message("a")
    assert "ZeroDivisionError: by 0" in bench.message("a")
    events, _ = bench.table.accepted("a").log.read()
    assert [event.get("fault") for event in events if event["kind"] == "state"][-1] == "ours"


def test_a_job_that_gets_on_between_its_failures_may_fail_as_often_as_it_likes(tmp_path):
    saved = iter((10, 20, 20, 30, 30, 30))

    def work(job_id, stop):
        bench.table.accepted(job_id).log.append("checkpoint", step=next(saved), uri="u")
        raise MachineFailure("node lost")

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=2)
    bench.tick_until("a", JobState.QUEUED)
    for _ in range(600):
        bench.scheduler.tick()
        bench.clock.now += FIRST_PAUSE_S
        if bench.state("a") is JobState.FAILED:
            break
        threading.Event().wait(0.005)
    # Runs 1, 2 and 4 saved something new; 3 did not, and 5 and 6 in a row did not.
    assert len(bench.runner.started) == 6
    assert bench.message("a") == "attempt 2 of 2 failed: node lost"


def test_a_job_that_has_ended_is_not_done_again_because_its_process_was_lost_late(tmp_path):
    def work(job_id, stop):
        (tmp_path / job_id / SUMMARY_FILE).write_text("{}")
        raise MachineFailure("lost")

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.tick_until("a", JobState.SUCCEEDED)
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
    bench.table.accepted("a").log.append("checkpoint", step=40, uri="u")
    bench.clock.now += CANCEL_GRACE_S
    bench.tick_until("a", JobState.CANCELLED)
    assert bench.message("a") == "ended by force; the checkpoint of step 40 is kept"
    assert bench.runner.cleared == ["a"]


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


def test_a_queued_job_whose_deadline_passes_fails_without_running(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    bench.submit("a")
    bench.submit("b", deadline_s=30)
    bench.scheduler.tick()
    bench.clock.now += 29
    bench.scheduler.tick()
    assert bench.state("b") is JobState.QUEUED
    bench.clock.now += 2
    bench.scheduler.tick()
    assert bench.state("b") is JobState.FAILED
    assert bench.message("b") == "its deadline, 30 s after its acceptance, has passed"
    assert bench.runner.started == ["a"]


@pytest.mark.parametrize("off_by_s", [-3600, 3600])
def test_a_wall_clock_that_is_set_after_a_job_came_does_not_end_it(tmp_path, gate, monkeypatch, off_by_s):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    bench.submit("a", deadline_s=30)
    bench.scheduler.tick()
    monkeypatch.setattr("actors.scheduler.datetime", SetClock(off_by_s))
    bench.clock.now += 29
    bench.scheduler.tick()
    assert bench.state("a") is JobState.RUNNING


def test_a_clock_that_was_set_back_makes_no_deadline_later_than_it_can_be(tmp_path, monkeypatch):
    def work(job_id, stop):
        assert stop.wait(10)
        raise JobCancelled("stopped")

    bench = Bench(tmp_path, work)
    bench.submit("a", deadline_s=30)
    monkeypatch.setattr("actors.scheduler.datetime", SetClock(-3600))
    bench.scheduler.tick()
    bench.clock.now += 31
    bench.tick_until("a", JobState.FAILED)


def test_a_running_job_whose_deadline_passes_is_stopped_and_keeps_what_it_has(tmp_path):
    def work(job_id, stop):
        assert stop.wait(10)
        raise JobCancelled("cancelled at step 7; a checkpoint of that step is kept")

    bench = Bench(tmp_path, work)
    bench.submit("a", deadline_s=30)
    bench.scheduler.tick()
    bench.clock.now += 31
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a").startswith("its deadline, 30 s after its acceptance, has passed: cancelled at")


def test_an_urgent_job_gets_room_and_the_training_goes_on_afterwards(tmp_path):
    def work(job_id, stop):
        if job_id == "long" and bench.runner.started.count("long") == 1:
            assert stop.wait(10)
            raise JobCancelled("stopped at step 7")

    bench = Bench(tmp_path, work)
    bench.submit("long")
    bench.scheduler.tick()
    bench.submit("urgent", "eval", priority=5)
    bench.tick_until("urgent", JobState.SUCCEEDED)
    bench.tick_until("long", JobState.SUCCEEDED)
    assert bench.runner.started == ["long", "urgent", "long"]
    events, _ = bench.table.accepted("long").log.read()
    told = [event["message"] for event in events if event["kind"] == "state"]
    assert "made room for urgent: stopped at step 7" in told


def test_one_that_does_not_make_room_is_ended_by_force_and_goes_on_later(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: job_id == "long" and gate.wait(10) and None)
    bench.submit("long")
    bench.scheduler.tick()
    bench.submit("urgent", priority=5)
    bench.scheduler.tick()
    bench.clock.now += STOP_GRACE_S
    bench.tick_until("urgent", JobState.SUCCEEDED)
    gate.set()
    bench.tick_until("long", JobState.SUCCEEDED)


def test_a_full_disk_changes_nothing_until_there_is_room(tmp_path, monkeypatch):
    full = True
    append = JobLog.append

    def write(log, kind, **fields):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(log, kind, **fields)

    bench = Bench(tmp_path)
    bench.submit("a")
    monkeypatch.setattr(JobLog, "append", write)
    with pytest.raises(OSError, match="No space"):
        bench.scheduler.tick()
    assert bench.runner.started == []
    full = False
    bench.scheduler.tick()
    assert bench.runner.started == ["a"]
    full = True
    for _ in range(3):  # the outcome is not lost
        threading.Event().wait(0.02)
        with pytest.raises(OSError, match="No space"):
            bench.scheduler.tick()
    full = False
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.runner.started == ["a"]


def test_after_a_restart_what_ran_is_queued_again_unless_it_had_ended(tmp_path, gate):
    first = Bench(tmp_path, lambda job_id, stop: gate.wait(10) and None)
    first.submit("a")
    first.submit("b")
    first.submit("c", "view")
    first.scheduler.tick()
    (tmp_path / "c" / SUMMARY_FILE).write_text("{}")
    second = Bench(tmp_path)
    second.table.refresh()
    second.scheduler.put_back(second.table.unfinished())
    assert second.message("a") == "put back after a restart"
    second.tick_until("b", JobState.SUCCEEDED)
    assert second.runner.started == ["a", "b"]
    record = second.table.show("a").record
    assert (record.attempt, record.failures) == (2, 0)
    assert second.message("c") == "had ended before a restart"


def test_jobs_of_anerf_run_are_left_to_it(tmp_path):
    bench = Bench(tmp_path)
    accept_job(parse_job({"op": "train", "scene": "/s", "job_id": "r"}), tmp_path, "run")
    bench.table.refresh()
    bench.scheduler.put_back(bench.table.unfinished())
    bench.scheduler.tick()
    assert bench.runner.started == []
    with pytest.raises(JobError, match="belongs to the `anerf run` that started it"):
        bench.scheduler.cancel("r")

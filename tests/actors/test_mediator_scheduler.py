"""What is tried again, what is not, and what a restart finds, over jobs that run in threads."""

import errno
import os
import shutil
import threading
from contextlib import suppress

import pytest

from actors.scheduler import MachineFailure
from anerf.errors import InputError, JobError
from anerf.jobs.events import JobLog
from anerf.jobs.faults import FIRST_PAUSE_S
from anerf.jobs.folder import SUMMARY_FILE, accept_job
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from tests.actors.scheduler_bench import Bench


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
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
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


def test_a_job_that_lost_its_process_keeps_its_place_during_a_short_pause(tmp_path):
    failures = [MachineFailure("process lost"), None, None]

    def work(job_id, stop):
        if failure := failures.pop(0):
            raise failure

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.submit("b")
    bench.scheduler.tick()
    bench.tick_until("a", JobState.QUEUED)
    bench.scheduler.tick()
    assert bench.runner.started == ["a"]
    assert bench.table.show("b").waiting_for == "for 4 CPUs, of which 0 are free: until a has ended"
    bench.clock.now += FIRST_PAUSE_S
    bench.tick_until("b", JobState.SUCCEEDED)
    assert bench.runner.started == ["a", "a", "b"]


def test_nobody_waits_for_a_long_pause(tmp_path):
    def work(job_id, stop):
        if job_id == "a":
            raise MachineFailure("process lost")

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=9)
    bench.submit("b")
    while "b" not in bench.runner.started:
        bench.scheduler.tick()
        bench.clock.now += FIRST_PAUSE_S
        threading.Event().wait(0.02)
    # After pauses of 2, 4 and 8 s comes one of 16 s.
    assert bench.runner.started == ["a"] * 4 + ["b"]


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
    bench.runner.await_all()
    for _ in range(3):  # the outcome is not lost
        with pytest.raises(OSError, match="No space"):
            bench.scheduler.tick()
    full = False
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.runner.started == ["a"]


def test_after_a_restart_what_ran_is_queued_again_unless_it_had_ended(tmp_path, gate):
    first = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
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


def test_a_job_whose_folder_is_removed_keeps_no_other_from_running(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
    for job_id in ("a", "b", "c"):
        bench.submit(job_id)
    bench.scheduler.tick()
    assert bench.runner.started == ["a"]
    for removed in ("a", "b"):  # one that runs and one that waits
        shutil.rmtree(tmp_path / removed)
    gate.set()
    while "c" not in bench.runner.started:
        with suppress(FileNotFoundError):
            bench.scheduler.tick()
    bench.tick_until("c", JobState.SUCCEEDED)
    assert bench.runner.started == ["a", "c"]
    with pytest.raises(JobError, match="there is no job a"):
        bench.scheduler.cancel("a")


@pytest.mark.parametrize("which", [1, 2])  # the job's start, its end
def test_a_line_that_the_disk_took_and_denied_is_neither_lost_nor_written_twice(tmp_path, monkeypatch, which):
    bench = Bench(tmp_path)
    bench.submit("a")
    n_syncs, sync = 0, os.fsync

    def fail_once(file):
        nonlocal n_syncs
        n_syncs += 1
        if n_syncs == which:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(file)

    monkeypatch.setattr("os.fsync", fail_once)
    while n_syncs < which:
        with suppress(OSError):
            bench.scheduler.tick()
    bench.table.take_news()  # as the Mediator does after each tick
    bench.tick_until("a", JobState.SUCCEEDED)
    assert bench.runner.started == ["a"]

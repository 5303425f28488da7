"""What ends a job before its time: a cancel, a deadline, a more urgent job."""

import threading

import pytest

from actors.scheduler import CANCEL_GRACE_S, STOP_GRACE_S, MachineFailure
from anerf.errors import JobCancelled
from anerf.jobs.states import JobState
from tests.actors.scheduler_bench import Bench, SetClock


@pytest.fixture
def gate():
    """Opened, it lets running jobs end; it is open in the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def test_a_queued_job_is_cancelled_at_once(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
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
        assert stop.wait(60)
        raise JobCancelled("stopped at step 7")

    bench = Bench(tmp_path, work)
    bench.submit("a")
    bench.scheduler.tick()
    assert bench.scheduler.cancel("a").record.state is JobState.RUNNING
    bench.tick_until("a", JobState.CANCELLED)
    assert bench.message("a") == "stopped at step 7"


def test_one_that_does_not_listen_is_ended_by_force_and_not_tried_again(tmp_path, gate):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
    bench.submit("a")
    bench.scheduler.tick()
    bench.scheduler.cancel("a")
    bench.scheduler.cancel("a")
    bench.scheduler.tick()
    assert bench.state("a") is JobState.RUNNING
    bench.table.accepted("a").log.append("checkpoint", step=40, uri="u")
    assert bench.scheduler.pause_s(60) == CANCEL_GRACE_S, "it would be ended by force too late"
    bench.clock.now += CANCEL_GRACE_S + 1
    assert bench.scheduler.pause_s(60) == 0
    bench.scheduler.tick()
    assert bench.scheduler.pause_s(60) == 60
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
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
    bench.submit("a")
    bench.submit("b", deadline_s=3000)
    bench.scheduler.tick()
    bench.clock.now += 2900
    bench.scheduler.tick()
    assert bench.state("b") is JobState.QUEUED
    bench.clock.now += 200
    bench.scheduler.tick()
    assert bench.state("b") is JobState.FAILED
    assert bench.message("b") == "its deadline, 3000 s after its acceptance, has passed"
    assert bench.runner.started == ["a"]


@pytest.mark.parametrize("off_by_s", [-3600, 3600])
def test_a_wall_clock_that_is_set_after_a_job_came_does_not_end_it(tmp_path, gate, monkeypatch, off_by_s):
    bench = Bench(tmp_path, lambda job_id, stop: gate.wait(60) and None)
    bench.submit("a", deadline_s=3000)
    bench.scheduler.tick()
    monkeypatch.setattr("actors.scheduler.datetime", SetClock(off_by_s))
    bench.clock.now += 2900
    bench.scheduler.tick()
    assert bench.state("a") is JobState.RUNNING


def test_a_clock_that_was_set_back_makes_no_deadline_later_than_it_can_be(tmp_path, monkeypatch):
    def work(job_id, stop):
        assert stop.wait(60)
        raise JobCancelled("stopped")

    bench = Bench(tmp_path, work)
    bench.submit("a", deadline_s=3000)
    monkeypatch.setattr("actors.scheduler.datetime", SetClock(-3600))
    bench.scheduler.tick()
    bench.clock.now += 3100
    bench.tick_until("a", JobState.FAILED)


def test_a_running_job_whose_deadline_passes_is_stopped_and_keeps_what_it_has(tmp_path):
    def work(job_id, stop):
        assert stop.wait(60)
        raise JobCancelled("cancelled at step 7; a checkpoint of that step is kept")

    bench = Bench(tmp_path, work)
    bench.submit("a", deadline_s=3000)
    bench.scheduler.tick()
    bench.clock.now += 3100
    bench.tick_until("a", JobState.FAILED)
    assert bench.message("a").startswith(
        "its deadline, 3000 s after its acceptance, has passed: cancelled at"
    )


def test_an_urgent_job_gets_room_and_the_training_goes_on_afterwards(tmp_path):
    def work(job_id, stop):
        if job_id == "long" and bench.runner.started.count("long") == 1:
            assert stop.wait(60)
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
    bench = Bench(tmp_path, lambda job_id, stop: job_id == "long" and gate.wait(60) and None)
    bench.submit("long")
    bench.scheduler.tick()
    bench.submit("urgent", priority=5)
    bench.scheduler.tick()
    bench.clock.now += STOP_GRACE_S
    bench.tick_until("urgent", JobState.SUCCEEDED)
    gate.set()
    bench.tick_until("long", JobState.SUCCEEDED)

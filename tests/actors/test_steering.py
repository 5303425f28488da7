"""What people ask of a running job, and what its run finds of it."""

import threading
import time

import pytest

from actors.steering import MOST_STEPS, Change, Pause, Reset, Resume, Save, Steering, Step, Stop, Wishes
from anerf.errors import JobError


@pytest.fixture
def steering() -> Steering:
    return Steering(adapts=True)


def test_a_job_that_nobody_steers_has_all_steps_and_nothing_to_do(steering):
    assert steering.steps_allowed() == MOST_STEPS
    steering.has_done(7)
    assert steering.steps_allowed() == MOST_STEPS
    assert steering.take_wishes() == Wishes()
    assert not steering.is_cancelled()
    assert not steering.is_stopping()


def test_steps_are_counted_down_to_the_pause(steering):
    steering.take_in(Pause())
    assert steering.steps_allowed() == 0
    steering.take_in(Step(3))
    steering.take_in(Step(2))
    assert steering.steps_allowed() == 5
    steering.has_done(4)
    assert steering.steps_allowed() == 1
    steering.has_done(1)
    assert steering.steps_allowed() == 0
    steering.take_in(Resume())
    assert steering.steps_allowed() == MOST_STEPS


def test_a_job_that_runs_may_be_given_its_last_steps_before_a_pause(steering):
    steering.take_in(Step(10))
    assert steering.steps_allowed() == 10


def test_a_pause_in_the_midst_of_a_round_leaves_no_debt(steering):
    steering.take_in(Pause())
    steering.has_done(20)
    steering.take_in(Step(1))
    assert steering.steps_allowed() == 1


def test_a_wish_is_taken_once(steering):
    steering.take_in(Save())
    steering.take_in(Change(encoding_lr=0.1, color_lr=0.3))
    steering.take_in(Change(encoding_lr=0.2, of_steps=9))
    steering.take_in(Reset())
    merged = Change(of_steps=9, encoding_lr=0.2, color_lr=0.3)
    assert steering.take_wishes() == Wishes(save=True, reset=True, change=merged)
    assert steering.take_wishes() == Wishes()


@pytest.mark.parametrize("wish", [Reset(), Change(of_steps=3)])
def test_a_training_refuses_what_is_for_adaptations(wish):
    steering = Steering(adapts=False)
    with pytest.raises(JobError, match="a training cannot"):
        steering.take_in(wish)
    assert steering.take_wishes() == Wishes()


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        (Step, {"n": 0}, "`step` is 0"),
        (Step, {"n": True}, "`step` is True"),
        (Change, {"of_steps": -1}, "`of_steps` is -1"),
        (Change, {"sigma_lr": 0.0}, "`sigma_lr` is 0.0"),
        (Change, {"color_lr": float("nan")}, "`color_lr` is nan"),
        (Change, {"encoding_lr": 1e9}, "at most 100"),
    ],
)
def test_values_out_of_their_limits_are_named(kind, fields, told):
    with pytest.raises(JobError, match=told):
        kind(**fields)


def waited_s(steering: Steering, ask: object) -> float:
    """How long a pause lasts in which something is asked after 0.1 s."""
    asking = threading.Timer(0.1, ask)
    began = time.monotonic()
    asking.start()
    steering.wait(60)
    asking.join()
    return time.monotonic() - began


@pytest.mark.parametrize("wish", [Resume(), Step(1), Stop(), Save(), Reset(), Change(of_steps=2)])
def test_a_paused_job_hears_a_wish_at_once(steering, wish):
    steering.take_in(Pause())
    assert 0.05 < waited_s(steering, lambda: steering.take_in(wish)) < 30


def test_a_paused_job_hears_that_it_is_cancelled_at_once(steering):
    steering.take_in(Pause())
    assert 0.05 < waited_s(steering, steering.cancel) < 30
    assert steering.is_cancelled()

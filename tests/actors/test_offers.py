"""When a job's weights are taken for those who look, and when not."""

from typing import Any, cast

from actors.offers import LOOKED_AT_S, SHARE, Offers, Weights


class Job:
    """Takes weights, which needs `took_s` of a clock that stands still otherwise."""

    def __init__(self) -> None:
        self.now, self.took_s, self.n_taken = 100.0, 0.0, 0
        self.whole = True
        self.offers = Offers(lambda: self.now)

    def take(self) -> Weights | None:
        self.now += self.took_s
        self.n_taken += 1
        return Weights(cast(Any, self.n_taken), {}, {}) if self.whole else None

    def round(self, step: int, seconds: float = 1.0) -> None:
        self.now += seconds
        self.offers.renew(step, self.take)


def test_a_job_that_nobody_looks_at_takes_nothing():
    job = Job()
    for step in range(10):
        job.round(step)
    assert job.n_taken == 0


def test_who_looks_gets_every_round_once():
    job = Job()
    assert job.offers.answer(None).newest is None
    known = None
    for step in (5, 6, 7):
        job.round(step)
        answer = job.offers.answer(known)
        assert answer.offer is not None
        assert (answer.offer.step, answer.newest) == (step, answer.offer.mark)
        assert answer.newest != known
        known = answer.newest
        assert job.offers.answer(known).offer is None
        assert job.offers.answer(known).newest == known
    assert job.n_taken == 3


def test_the_same_step_is_not_taken_twice_unless_it_was_reached_anew():
    job = Job()
    job.offers.answer(None)
    job.round(5)
    job.round(5)
    assert job.n_taken == 1
    job.offers.forget()
    assert job.offers.answer(None).newest is None
    job.round(5)
    assert job.n_taken == 2


def test_what_nobody_has_asked_for_in_a_while_is_let_go():
    job = Job()
    job.offers.answer(None)
    job.round(1)
    job.round(2, LOOKED_AT_S)
    assert job.n_taken == 1
    assert job.offers.answer(None).newest is None
    job.round(3)
    assert cast(Any, job.offers.answer(None).offer).step == 3


def test_large_weights_are_taken_less_often():
    job = Job()
    job.took_s = 1.0
    for step in range(100):
        job.offers.answer(None)
        job.round(step, 0.5)
    assert job.n_taken * job.took_s <= SHARE * (job.now - 100) + job.took_s
    assert job.n_taken > 5


def test_weights_that_are_not_all_of_one_step_are_not_offered():
    job = Job()
    job.whole = False
    job.offers.answer(None)
    job.round(1)
    assert job.offers.answer(None).newest is None
    job.whole = True
    job.round(2)
    assert cast(Any, job.offers.answer(None).offer).step == 2


def test_marks_of_two_runs_of_a_job_differ():
    marks = set()
    for _ in range(2):
        job = Job()
        job.offers.answer(None)
        job.round(1)
        marks.add(job.offers.answer(None).newest)
    assert len(marks) == 2

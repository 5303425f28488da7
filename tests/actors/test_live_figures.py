"""A running job's figures and curves."""

import math
from itertools import pairwise

import pytest

from actors.figures import MOST_EXPERTS, MOST_POINTS, FigureLog, Measured
from anerf.learn.expert import StretchReport


def reports(step: int, *losses: float, n_rays: int = 100) -> dict[int, StretchReport]:
    return {expert: StretchReport(step, loss, n_rays, 0.1) for expert, loss in enumerate(losses)}


def test_a_job_that_has_not_begun_has_no_figures():
    figures = FigureLog("a", "train").figures()
    assert (figures.state, figures.step, figures.curve_steps) == ("starting", 0, ())
    assert math.isnan(figures.loss)


def test_the_last_round_says_where_it_stands():
    log = FigureLog("a", "train")
    log.enter("learning")
    log.add_round(5, 20, reports(5, 0.04, 0.02), 0.5, 9.0)
    log.add_round(8, 20, reports(8, 0.01, 0.03), 0.25, 7.0)
    figures = log.figures()
    assert (figures.job_id, figures.op, figures.state) == ("a", "train", "learning")
    assert (figures.step, figures.of_steps, figures.eta_s) == (8, 20, 7.0)
    assert figures.loss == pytest.approx(0.02)
    assert figures.rays_per_s == pytest.approx(800)
    assert figures.experts[1].rays_per_s == pytest.approx(400)
    assert figures.curve_steps == (5, 8)
    assert figures.loss_curve == pytest.approx((0.03, 0.02))
    assert figures.loss_curves == {0: (0.04, 0.01), 1: (0.02, 0.03)}


def test_an_expert_that_is_late_has_a_gap():
    log = FigureLog("a", "train")
    log.add_round(5, 20, reports(5, 0.04, 0.02), 0.5, 9.0)
    log.add_round(8, 20, reports(8, 0.01), 0.5, 7.0)
    assert math.isnan(log.figures().loss_curves[1][1])


@pytest.mark.parametrize("n", [MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS, 5000])
def test_a_long_curve_is_thinned_evenly_from_its_start_to_its_end(n):
    log = FigureLog("a", "train")
    for step in range(1, n + 1):
        log.add_round(step, n, reports(step, 1 / step), 0.5, 0.0)
    steps = log.figures().curve_steps
    assert MOST_POINTS / 2 - 1 <= len(steps) <= MOST_POINTS
    assert (steps[0], steps[-1]) == (1, n)
    gaps = {b - a for a, b in pairwise(steps[:-1])}
    assert len(gaps) == 1
    assert steps[-1] - steps[-2] <= gaps.pop()


def test_many_experts_have_one_curve():
    log = FigureLog("a", "train")
    log.add_round(1, 9, reports(1, *[0.1] * (MOST_EXPERTS + 1)), 0.5, 0.0)
    figures = log.figures()
    assert figures.loss_curves == {}
    assert figures.loss_curve == pytest.approx((0.1,))
    assert len(figures.experts) == MOST_EXPERTS + 1


def test_what_was_measured_again_replaces_what_was_and_a_reset_keeps_the_start():
    log = FigureLog("a", "eval")
    log.add_measured(0, {"old": 20.0, "new": 10.0})
    log.add_round(4, 8, reports(4, 0.1), 0.5, 0.0)
    log.add_measured(4, {"old": 20.0, "new": 14.0})
    log.add_measured(4, {"old": 19.0, "new": 15.0})
    at_start = (Measured(0, "new", 10.0), Measured(0, "old", 20.0))
    assert log.figures().measured == (*at_start, Measured(4, "new", 15.0), Measured(4, "old", 19.0))
    log.start_over()
    assert log.figures().measured == at_start
    assert log.figures().curve_steps == ()

"""Where an adaptation stops and measures: after steps or after seconds."""

import math

from actors.adapting import ENDLESS, Goal, goals_of
from anerf.jobs.spec import parse_job

EVAL = {"op": "eval", "scene": "s", "checkpoint_path": "c"}


def test_steps_are_stops_in_order_without_the_start():
    assert goals_of(parse_job({**EVAL, "tto": "8,0,2,8"})) == [
        Goal(2, math.inf, 8, math.inf),
        Goal(8, math.inf, 8, math.inf),
    ]


def test_seconds_are_stops_whatever_the_steps():
    assert goals_of(parse_job({**EVAL, "tto_seconds": [30, 10.5]})) == [
        Goal(ENDLESS, 10.5, ENDLESS, 30.0),
        Goal(ENDLESS, 30.0, ENDLESS, 30.0),
    ]

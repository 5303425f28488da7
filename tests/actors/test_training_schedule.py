"""When training stops for a meeting, an evaluation or a checkpoint; and which views it is measured on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.training import Schedule, validation_views
from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene

periods = st.integers(1, 60)
schedules = st.builds(Schedule, periods, periods, periods, st.integers(1, 300))
strides = st.integers(1, 80)


def happens_at(schedule, step):
    """By the definition: something is due, or it is the end."""
    multiples = (schedule.sync_step, schedule.eval_step, schedule.save_step)
    return step == schedule.outer_steps or any(step % m == 0 for m in multiples)


@given(schedules, st.data(), strides)
def test_a_round_goes_on_as_far_as_it_may_and_passes_over_nothing(schedule, data, at_most):
    step = data.draw(st.integers(0, schedule.outer_steps - 1))
    end = schedule.boundary(step, at_most)
    assert step < end <= min(step + at_most, schedule.outer_steps)
    assert not any(happens_at(schedule, passed) for passed in range(step + 1, end))
    assert end == step + at_most or happens_at(schedule, end)


@given(schedules, st.lists(strides, min_size=1, max_size=8), st.data())
def test_however_long_the_rounds_are_everything_happens_at_its_step(schedule, round_strides, data):
    """A resumed job (from any step) meets, evaluates and saves where the one that ran through did."""
    step = first = data.draw(st.integers(0, schedule.outer_steps - 1))
    visited = []
    while step < schedule.outer_steps:
        step = schedule.boundary(step, round_strides[len(visited) % len(round_strides)])
        visited.append(step)
    assert visited[-1] == schedule.outer_steps
    for every in (schedule.sync_step, schedule.eval_step, schedule.save_step):
        due = [s for s in visited if schedule.due(s, every)]
        multiples = [s for s in range(first + 1, schedule.outer_steps) if s % every == 0]
        assert due == [*multiples, schedule.outer_steps]


def test_a_schedule_by_hand():
    schedule = Schedule(sync_step=20, eval_step=30, save_step=100, outer_steps=110)
    steps, step = [], 0
    while step < 110:
        step = schedule.boundary(step, 1000)
        steps.append(step)
    assert steps == [20, 30, 40, 60, 80, 90, 100, 110]
    assert schedule.boundary(20, 3) == 23
    assert [schedule.due(110, every) for every in (20, 30, 100)] == [True, True, True]
    assert [schedule.due(60, every) for every in (20, 30, 100)] == [True, True, False]


def scene_with(splits: list[str]) -> Scene:
    camera = Camera("PINHOLE", 4, 3, (4.0, 4.0, 2.0, 1.5))
    frame = Frame(0, "images/0.jpg", "train", camera, np.eye(3, 4), None, None, "0" * 64, None)
    frames = tuple(replace(frame, id=i, split=split) for i, split in enumerate(splits))
    box = Aabb((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    reference = GeodeticReference(50, 7, 0)
    return Scene(Path("nowhere"), "s", reference, "EPSG:32632", (0, 0, 0), 1.0, box, (0, 1), frames, "a test")


@given(st.lists(st.sampled_from(["train", "val", "after"]), max_size=60), st.integers(1, 8))
def test_measured_views_are_spread_evenly_over_the_validation_split(splits, at_most):
    all_of_them = [i for i, split in enumerate(splits) if split == "val"]
    views = validation_views(scene_with(splits), at_most)
    assert len(views) == min(at_most, len(all_of_them))
    rank = [all_of_them.index(i) for i in views]
    assert rank == sorted(set(rank))
    # Each view stands in the middle of its own share of the flight.
    gaps = np.diff([-1 - rank[0], *rank, 2 * len(all_of_them) - 1 - rank[-1]]) if rank else np.zeros(1)
    assert gaps.max() - gaps.min() <= 2


def test_measured_views_by_hand():
    scene = scene_with(["val"] * 8)
    assert validation_views(scene, 4) == (1, 3, 5, 7)
    assert validation_views(scene, 1) == (4,)
    assert validation_views(scene, 8) == tuple(range(8))
    assert validation_views(scene_with(["train", "after"]), 4) == ()

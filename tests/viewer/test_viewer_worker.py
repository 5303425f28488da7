"""Coarse while moving, fine at rest, the newest view wins."""

import threading
import time
from collections.abc import Callable

import pytest

from anerf.errors import InputError, JobCancelled
from anerf.viewer.worker import FIRST_WIDTH_PX, SMALLEST_WIDTH_PX, LatestWinsWorker

FULL_PX = 400


class _Studio:
    """Takes `seconds_a_picture` for a picture and keeps what was shown."""

    def __init__(self, seconds_a_picture: Callable[[int], float]) -> None:
        self.shown: list[tuple[str, int]] = []
        self.begun: list[tuple[str, int, bool]] = []
        self.told: list[str] = []
        self.finished = threading.Event()
        self._seconds_a_picture = seconds_a_picture

    def render(self, view: str, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> str:
        self.begun.append((view, width_px, is_coarse))
        if view == "broken":
            raise InputError("flight 'x' is unknown")
        if view == "broken otherwise":
            raise InputError(view)
        if view == "bug":
            raise ZeroDivisionError
        end = time.monotonic() + self._seconds_a_picture(width_px)
        while time.monotonic() < end:
            if should_stop():
                raise JobCancelled("no longer wanted")
            time.sleep(0.002)
        return view.upper()

    def show(self, view: str, picture: str, width_px: int, seconds: float) -> None:
        assert picture == view.upper()
        self.shown.append((view, width_px))
        if width_px == FULL_PX:
            self.finished.set()

    def worker(self) -> LatestWinsWorker[str, str]:
        return LatestWinsWorker(self.render, self.show, self.told.append, lambda view: FULL_PX)


def test_a_resting_camera_gets_coarse_then_finer_then_full() -> None:
    studio = _Studio(lambda width: 0.01)
    worker = studio.worker()
    worker.want("a")
    assert studio.finished.wait(5)
    worker.stop()
    assert studio.shown == [("a", FIRST_WIDTH_PX), ("a", FULL_PX // 2), ("a", FULL_PX)]
    assert [coarse for *_, coarse in studio.begun] == [True, False, False]


def test_while_moving_only_coarse_pictures_and_never_an_old_one_after_a_newer() -> None:
    studio = _Studio(lambda width: 0.05 * (width / FIRST_WIDTH_PX) ** 2)
    worker = studio.worker()
    for i in range(60):
        worker.want(f"view{i:02d}")
        time.sleep(0.01)
    assert studio.finished.wait(5)
    worker.stop()
    moving = studio.shown[:-2]
    assert len(moving) >= 4
    assert all(width < FULL_PX // 2 for _, width in moving)
    views = [view for view, _ in studio.shown]
    assert views == sorted(views)
    assert views[-1] == "view59"
    assert len(studio.begun) < 30


def test_a_newer_view_interrupts_the_fine_picture_and_not_the_coarse_one() -> None:
    studio = _Studio(lambda width: 0.05 if width < FULL_PX // 2 else 30.0)
    worker = studio.worker()
    worker.want("old")
    while len(studio.begun) < 2:
        time.sleep(0.01)
    start = time.monotonic()
    worker.want("new")
    while ("new", studio.shown[-1][1]) != studio.shown[-1]:
        time.sleep(0.005)
        assert time.monotonic() - start < 2
    worker.stop()
    assert [view for view, _ in studio.shown] == ["old", "new"]


def test_coarse_pictures_shrink_until_they_are_quick() -> None:
    studio = _Studio(lambda width: 0.1 * (width / SMALLEST_WIDTH_PX) ** 2 if width < 200 else 30.0)
    worker = studio.worker()
    for i in range(12):
        worker.want(f"view{i:02d}")
        seen = len(studio.shown)
        while len(studio.shown) == seen:
            time.sleep(0.005)
    worker.stop()
    widths = [width for _, width in studio.shown]
    assert widths[0] == FIRST_WIDTH_PX
    assert widths[-1] < 1.3 * SMALLEST_WIDTH_PX


def test_errors_are_told_and_the_next_view_is_rendered() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()
    worker.want("broken")
    while not studio.told:
        time.sleep(0.005)
    worker.want("fine")
    assert studio.finished.wait(5)
    worker.stop()
    assert studio.told == ["flight 'x' is unknown"]


def test_what_stays_wrong_is_told_once_until_a_picture_comes_about() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()

    def ask(view: str) -> None:
        n_begun = len(studio.begun)
        worker.want(view)
        while len(studio.begun) == n_begun:
            time.sleep(0.005)
        time.sleep(0.02)  # it goes on to tell

    for _ in range(5):
        ask("broken")
    ask("broken otherwise")
    ask("broken")
    assert studio.told == ["flight 'x' is unknown", "broken otherwise", "flight 'x' is unknown"]
    ask("fine")
    ask("broken")
    worker.stop()
    assert studio.told[3:] == ["flight 'x' is unknown"]


def test_what_is_wrong_with_a_view_that_is_no_longer_wanted_is_not_told() -> None:
    studio = _Studio(lambda width: 0.0)
    is_wanted, may_fail = threading.Event(), threading.Event()

    def render(view: str, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> str:
        if view == "old":
            is_wanted.set()
            assert may_fail.wait(5)
            raise InputError("too late")
        return studio.render(view, width_px, is_coarse, should_stop)

    worker = LatestWinsWorker(render, studio.show, studio.told.append, lambda view: FULL_PX)
    worker.want("old")
    assert is_wanted.wait(5)
    worker.want("new")
    may_fail.set()
    assert studio.finished.wait(5)
    worker.stop()
    assert studio.told == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_end_by_a_bug_is_told_too() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()
    worker.want("bug")
    while not studio.told:
        time.sleep(0.005)
    worker.stop()
    assert "reload the page" in studio.told[0]


def test_stopping_gives_up_what_is_being_rendered() -> None:
    studio = _Studio(lambda width: 30.0)
    worker = studio.worker()
    worker.want("a")
    while not studio.begun:
        time.sleep(0.005)
    start = time.monotonic()
    worker.stop()
    assert time.monotonic() - start < 2
    assert (studio.shown, studio.told) == ([], [])

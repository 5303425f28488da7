"""Coarse while moving, fine at rest, the newest view wins."""

import threading
import time
from collections.abc import Callable

import pytest

from anerf.errors import InputError, JobCancelled
from anerf.viewer import worker as of_workers
from anerf.viewer.worker import FIRST_WIDTH_PX, SMALLEST_WIDTH_PX, LatestWinsWorker
from tests.viewer.patience import PATIENCE_S, wait_for

FULL_PX = 400
GIVEN_UP_S = 20.0
"""By then a picture of 30 s was given up: far less than it takes, and enough for a busy machine."""


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
    assert studio.finished.wait(PATIENCE_S)
    worker.stop()
    assert studio.shown == [("a", FIRST_WIDTH_PX), ("a", FULL_PX // 2), ("a", FULL_PX)]
    assert [coarse for *_, coarse in studio.begun] == [True, False, False]


def test_while_moving_only_coarse_pictures_and_never_an_old_one_after_a_newer(monkeypatch) -> None:
    studio = _Studio(lambda width: 0.05 * (width / FIRST_WIDTH_PX) ** 2)
    rest_s = of_workers.REST_S
    # However long this thread is held up between two views, the camera moves until its last one is begun.
    monkeypatch.setattr(of_workers, "REST_S", PATIENCE_S)

    def render(view: str, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> str:
        if view == "view at rest":
            monkeypatch.setattr(of_workers, "REST_S", rest_s)
        return studio.render(view, width_px, is_coarse, should_stop)

    worker = LatestWinsWorker(render, studio.show, studio.told.append, lambda view: FULL_PX)
    begin, n_wanted = time.monotonic(), 0
    # Where this thread has more of the machine than the worker's, until that has shown some.
    while n_wanted < 60 or (len(studio.shown) < 4 and time.monotonic() - begin < PATIENCE_S):
        worker.want(f"view {n_wanted:04d}")
        n_wanted += 1
        time.sleep(0.01)
    worker.want("view at rest")
    assert studio.finished.wait(PATIENCE_S)
    worker.stop()
    moving = studio.shown[:-2]
    assert len(moving) >= 4
    assert all(width < FULL_PX // 2 for _, width in moving)
    assert all(is_coarse for *_, is_coarse in studio.begun[:-2])
    views = [view for view, _ in studio.shown]
    assert views == sorted(views)
    assert studio.shown[-2:] == [("view at rest", FULL_PX // 2), ("view at rest", FULL_PX)]


def test_of_views_that_come_while_a_coarse_picture_is_made_only_the_newest_is_begun() -> None:
    studio, may_go_on = _Studio(lambda width: 0.0), threading.Event()

    def render(view: str, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> str:
        picture = studio.render(view, width_px, is_coarse, should_stop)
        if view == "view00":
            assert may_go_on.wait(PATIENCE_S)
            assert not should_stop()
        return picture

    worker = LatestWinsWorker(render, studio.show, studio.told.append, lambda view: FULL_PX)
    worker.want("view00")
    wait_for(lambda: studio.begun)
    for i in range(1, 60):
        worker.want(f"view{i:02d}")
    may_go_on.set()
    assert studio.finished.wait(PATIENCE_S)
    worker.stop()
    assert [view for view, *_ in studio.begun] == ["view00", "view59", "view59", "view59"]
    assert studio.shown[0] == ("view00", FIRST_WIDTH_PX)


def test_a_newer_view_interrupts_the_fine_picture_and_not_the_coarse_one() -> None:
    studio = _Studio(lambda width: 0.05 if width < FULL_PX // 2 else 30.0)
    worker = studio.worker()
    worker.want("old")
    wait_for(lambda: len(studio.begun) == 2)
    start = time.monotonic()
    worker.want("new")
    while ("new", studio.shown[-1][1]) != studio.shown[-1]:
        time.sleep(0.005)
        assert time.monotonic() - start < GIVEN_UP_S
    worker.stop()
    assert [view for view, _ in studio.shown] == ["old", "new"]


def test_coarse_pictures_shrink_until_they_are_quick() -> None:
    studio = _Studio(lambda width: 0.1 * (width / SMALLEST_WIDTH_PX) ** 2 if width < 200 else 30.0)
    worker = studio.worker()
    for i in range(12):
        n_shown = len(studio.shown)
        worker.want(f"view{i:02d}")
        wait_for(lambda n_shown=n_shown: len(studio.shown) > n_shown)
    worker.stop()
    widths = [width for _, width in studio.shown]
    assert widths[0] == FIRST_WIDTH_PX
    assert widths[-1] < 1.3 * SMALLEST_WIDTH_PX


def test_errors_are_told_and_the_next_view_is_rendered() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()
    worker.want("broken")
    wait_for(lambda: studio.told)
    worker.want("fine")
    assert studio.finished.wait(PATIENCE_S)
    worker.stop()
    assert studio.told == ["flight 'x' is unknown"]


def test_what_stays_wrong_is_told_once_until_a_picture_comes_about() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()

    def ask(view: str, n_told: int) -> None:
        n_begun = len(studio.begun)
        worker.want(view)
        wait_for(lambda: len(studio.begun) > n_begun and len(studio.told) >= n_told)
        time.sleep(0.02)  # it could go on to tell more

    for _ in range(5):
        ask("broken", 1)
    ask("broken otherwise", 2)
    ask("broken", 3)
    assert studio.told == ["flight 'x' is unknown", "broken otherwise", "flight 'x' is unknown"]
    ask("fine", 3)
    ask("broken", 4)
    worker.stop()
    assert studio.told[3:] == ["flight 'x' is unknown"]


def test_what_is_wrong_with_a_view_that_is_no_longer_wanted_is_not_told() -> None:
    studio = _Studio(lambda width: 0.0)
    is_wanted, may_fail = threading.Event(), threading.Event()

    def render(view: str, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> str:
        if view == "old":
            is_wanted.set()
            assert may_fail.wait(PATIENCE_S)
            raise InputError("too late")
        return studio.render(view, width_px, is_coarse, should_stop)

    worker = LatestWinsWorker(render, studio.show, studio.told.append, lambda view: FULL_PX)
    worker.want("old")
    assert is_wanted.wait(PATIENCE_S)
    worker.want("new")
    may_fail.set()
    assert studio.finished.wait(PATIENCE_S)
    worker.stop()
    assert studio.told == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_end_by_a_bug_is_told_too() -> None:
    studio = _Studio(lambda width: 0.0)
    worker = studio.worker()
    worker.want("bug")
    wait_for(lambda: studio.told)
    worker.stop()
    assert "reload the page" in studio.told[0]


def test_stopping_gives_up_what_is_being_rendered() -> None:
    studio = _Studio(lambda width: 30.0)
    worker = studio.worker()
    worker.want("a")
    wait_for(lambda: studio.begun)
    worker.stop()
    assert not worker._thread.is_alive()
    assert (studio.shown, studio.told) == ([], [])

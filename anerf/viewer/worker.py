"""Renders the newest view a client wants: coarse at once, finer as soon as the camera rests.

One worker and one thread a client. A coarse picture always gets finished, or a moving camera would never
show anything; a finer one is given up as soon as a newer view is wanted. Nothing queues: the slot holds the
newest view only.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from anerf.errors import AnerfError, JobCancelled

V = TypeVar("V")
P = TypeVar("P")

FIRST_WIDTH_PX = 96
SMALLEST_WIDTH_PX = 48
COARSE_S = 0.1
"""What a coarse picture may take, so that eight a second are shown."""
REST_S = 0.15
"""Without a new view for this long, the camera rests."""


class LatestWinsWorker(Generic[V, P]):
    """Calls `render(view, width_px, is_coarse, should_stop)` and `show(view, picture, width_px, seconds)`.

    Both run in the worker's thread, which begins with the first view. `tell(text)` gets what `render` raised
    on purpose, and the same again only after a picture came about: a moving camera asks many times a second.
    `full_width(view)` says how wide the finest picture of a view is.
    """

    def __init__(
        self,
        render: Callable[[V, int, bool, Callable[[], bool]], P],
        show: Callable[[V, P, int, float], None],
        tell: Callable[[str], None],
        full_width: Callable[[V], int],
    ) -> None:
        self._render, self._show, self._tell, self._full_width = render, show, tell, full_width
        self._changed = threading.Condition()
        self._wanted: V | None = None
        self._is_newer_wanted = False
        self._stopped = False
        self._told = ""
        self._coarse_width_px = float(FIRST_WIDTH_PX)
        self._thread = threading.Thread(target=self._work, name="viewer-client", daemon=True)
        self._has_begun = False

    def want(self, view: V) -> None:
        """Show this view as soon as possible; an earlier one that was not begun is forgotten."""
        with self._changed:
            if not (self._has_begun or self._stopped):
                self._has_begun = True
                self._thread.start()
            self._wanted = view
            self._is_newer_wanted = True
            self._changed.notify()

    def stop(self) -> None:
        """End the thread; a picture being rendered is given up."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._has_begun and threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            while (view := self._next_view()) is not None:
                try:
                    self._show_coarse_then_fine(view)
                except JobCancelled:
                    continue
                except AnerfError as error:
                    self._tell_once(str(error))
        finally:
            if not self._stopped:
                self._tell(
                    "Rendering ended unexpectedly, the log says why: reload the page to start it again."
                )

    def _tell_once(self, trouble: str) -> None:
        # What was wrong with a view that nobody wants any more may be right already.
        if trouble != self._told and not self._is_outdated():
            self._told = trouble
            self._tell(trouble)

    def _next_view(self) -> V | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer_wanted or self._stopped)
            self._is_newer_wanted = False
            return None if self._stopped else self._wanted

    def _show_coarse_then_fine(self, view: V) -> None:
        full = self._full_width(view)
        coarse = min(full, round(self._coarse_width_px))
        seconds = self._make(view, coarse, True, lambda: self._stopped)
        # Cost goes with the square of the width; half a step a time, so that one slow frame changes little.
        self._coarse_width_px *= (COARSE_S / max(seconds, 1e-3)) ** 0.25
        self._coarse_width_px = max(SMALLEST_WIDTH_PX, min(self._coarse_width_px, full))
        if self._moves_within(REST_S):
            return
        half = full // 2
        for width in (half, full) if half > coarse else (full,):
            self._make(view, width, False, self._is_outdated)

    def _make(self, view: V, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> float:
        start = time.monotonic()
        picture = self._render(view, width_px, is_coarse, should_stop)
        self._told = ""
        seconds = time.monotonic() - start
        if not self._stopped:
            self._show(view, picture, width_px, seconds)
        return time.monotonic() - start

    def _moves_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(self._is_outdated, timeout=seconds)

    def _is_outdated(self) -> bool:
        return self._is_newer_wanted or self._stopped

"""How much work the endpoint takes on at once; what is more has to come again later."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from anerf.errors import AnerfError

LIMIT = 8
_LONGEST_RETRY_S = 60
_FORGET = 0.1  # of the mean duration, with each piece of work


class TooBusyError(AnerfError):
    """The endpoint has as much to do as it takes on."""

    retryable = True

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class RenderersAway(AnerfError):
    """No renderer answers."""

    retryable = True
    retry_after_s = 2


class Admission:
    """Lets `limit` pieces of work in, waiting ones counted; for one event loop."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._inside = 0
        self._mean_s = 1.0

    @property
    def inside(self) -> int:
        """Pieces of work that are done or wait now."""
        return self._inside

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for as long as the block lasts.

        Raises:
            TooBusyError: there is none; it says when there may be.
        """
        if self._inside >= self._limit:
            seconds = min(max(1, math.ceil(self._mean_s)), _LONGEST_RETRY_S)
            raise TooBusyError(
                f"The endpoint has {self._inside} requests to answer and takes on {self._limit}: "
                f"ask again in {seconds} s.",
                seconds,
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def took(self, seconds: float) -> None:
        """Learn how long a piece of work took, waiting included."""
        self._mean_s += _FORGET * (seconds - self._mean_s)

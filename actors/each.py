"""A call for several experts of one process, answered for each of them."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anerf.errors import AnerfError


class StepMismatch(AnerfError):
    """The expert stands at another step than its caller expects: it was restarted in between."""

    retryable = True


class Deposed(AnerfError):
    """Another coordinator has taken over the experts of the one that called: this one has to end."""

    retryable = True


class Allegiance:
    """Whose calls a process of experts answers: the latest coordinator's. Safe for threads.

    A coordinator may live on for seconds after Ray has given it up, and must not learn beside the next one.
    """

    def __init__(self) -> None:
        self._term = 0
        self._lock = threading.Lock()

    def follow(self, term: int) -> None:
        """Answer the coordinator of the job's run of this number.

        Raises:
            Deposed: a later one has called.
        """
        with self._lock:
            if term < self._term:
                raise Deposed(
                    f"run {self._term} of the job has taken over its experts: run {term} has to end"
                )
            self._term = term


def answer_each(
    target: object, threads: ThreadPoolExecutor, method: str, args_of: Mapping[int, tuple[Any, ...]]
) -> dict[int, Any]:
    """A method `target.method(expert, *args)` for several experts, side by side.

    Returns:
        Each expert's result, or the `AnerfError` that it raised; any other error ends the call.
    """

    def one(expert: int) -> Any:
        try:
            return getattr(target, method)(expert, *args_of[expert])
        except AnerfError as error:
            return error

    if len(args_of) == 1:
        return {expert: one(expert) for expert in args_of}
    return dict(zip(args_of, threads.map(one, args_of), strict=True))

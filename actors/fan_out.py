"""One call to many experts: a remote call for each of their processes, whatever becomes of the processes.

Results come by expert. A process that dies, or was started anew unnoticed, is mended and asked again. With
patience at an end (`Patience`), those who are far behind are left to finish alone, and named.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.each import StepMismatch
from anerf.errors import AnerfError

POLL_S = 0.2
NOTICE_S = 30.0
QUORUM = 0.95
LATE_FACTOR = 3.0
LATE_AFTER_S = 5.0

Group = tuple[int, ...]
"""The experts of one process."""
Start = Callable[[Group, Sequence[int]], ray.ObjectRef]
"""Begins a call for some of a group's experts; its result holds a value, or an `AnerfError`, for each."""


@dataclass(frozen=True)
class Listener:
    """Who hears what happens meanwhile. `mend(expert, error)` brings an expert's process back, or raises."""

    mend: Callable[[int, Exception], None]
    silent: Callable[[Sequence[int]], None]


@dataclass
class Calls:
    """Calls that are on their way."""

    start: Start
    listener: Listener
    expected: type[AnerfError] | None = None
    """An error that counts as an answer."""
    waiting: dict[ray.ObjectRef, tuple[Group, tuple[int, ...]]] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    """Moved on by the time that mending took, in which nobody was late."""
    silent_since: float = field(default_factory=time.monotonic)

    def begin(self, group: Group, experts: Sequence[int]) -> None:
        """Ask some of a group's experts."""
        self.waiting[self.start(group, experts)] = (group, tuple(experts))

    def poll(self, timeout_s: float = POLL_S) -> None:
        """Take in what comes within a while; returns early when everything has come."""
        done, _ = ray.wait(list(self.waiting), num_returns=len(self.waiting), timeout=timeout_s)
        now = time.monotonic()
        if done:
            self.silent_since = now
        elif now - self.silent_since >= NOTICE_S:
            self.silent_since = now
            self.listener.silent(self.asked())
        for ref in done:
            group, experts = self.waiting.pop(ref)
            self._take(ref, group, experts, now)

    def asked(self) -> list[int]:
        """The experts whose answer has not come."""
        return sorted(expert for _, experts in self.waiting.values() for expert in experts)

    def _take(self, ref: ray.ObjectRef, group: Group, experts: Sequence[int], now: float) -> None:
        try:
            answers: Mapping[int, Any] = ray.get(ref)
        except RayActorError as error:
            for expert in experts:
                self._mend(expert, error)
            self.begin(group, experts)
            return
        except RayTaskError as error:
            cause = cause_of(error)
            raise (cause if isinstance(cause, AnerfError) else error) from None
        again = []
        for expert, answer in answers.items():
            if isinstance(answer, StepMismatch):
                # The process was started anew between two calls, unnoticed until now.
                self._mend(expert, answer)
                again.append(expert)
            elif isinstance(answer, AnerfError) and not self._is_expected(answer):
                raise answer
            else:
                self.results[expert] = answer
        if again:
            self.begin(group, again)
        else:
            self.took_s.append(now - self.began)

    def _is_expected(self, error: AnerfError) -> bool:
        return self.expected is not None and isinstance(error, self.expected)

    def _mend(self, expert: int, error: Exception) -> None:
        mending = time.monotonic()
        self.listener.mend(expert, error)
        now = time.monotonic()
        self.began += now - mending
        self.silent_since = now


def is_late(took_s: Sequence[float], n_groups: int, elapsed_s: float) -> bool:
    """Whether those who have not answered yet are so late that the others go on without them.

    Args:
        took_s: How long those took who have answered.
        n_groups: How many were asked.
        elapsed_s: How long ago.
    """
    if len(took_s) < max(1, math.floor(QUORUM * n_groups)) and len(took_s) < n_groups - 1:
        return False
    if len(took_s) in (0, n_groups):
        return False
    return elapsed_s > max(LATE_AFTER_S, LATE_FACTOR * statistics.median(took_s))


def cause_of(error: RayTaskError) -> BaseException:
    """The exception that the remote method raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error

"""Times that can be compared on a busy machine: measurements take turns, and medians are taken."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Progress = Callable[[int, int], None]


def interleaved(
    measurements: Mapping[Key, Callable[[], float]], rounds: int, after_round: Callable[[], None]
) -> dict[Key, float]:
    """Median of what each measurement returned; all have a turn each round, so trouble hits all alike."""
    measured: dict[Key, list[float]] = {key: [] for key in measurements}
    for _ in range(rounds):
        for key, measure in measurements.items():
            measured[key].append(measure())
        after_round()
    return {key: statistics.median(values) for key, values in measured.items()}


def seconds_of(call: Callable[[], object], at_least_s: float = 0.0) -> float:
    """Mean duration of calls, as many as fill `at_least_s` and at least one."""
    started = time.perf_counter()
    calls = 0
    while calls == 0 or time.perf_counter() - started < at_least_s:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls


class Steps:
    """Counts finished rounds of a long measurement for a progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self) -> None:
        """One more is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)

"""The same work on many files, on a few threads, stopping at the first error."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with how many of how many are done."""

# Decoding waits for memory as much as for the processor; more threads only hold more pictures.
_THREADS = 4


def on_threads(
    work: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None = None
) -> list[Result]:
    """Results of `work` in the order of `items`; of several errors, the first item's is raised."""
    results: list[Result] = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                results.append(future.result())
                if progress is not None:
                    progress(len(results), len(items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return results

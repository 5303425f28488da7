"""How many threads compute the field.

Our kernels start their threads for one call and end them with it. torch keeps its own, which wait by
spinning: on cores that others use too, two of them are up to twelve times slower than one. So a process that
computes with our kernels gives torch one thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_given: int | None = None


def use_threads(n: int) -> None:
    """From now on, kernels of this process take `n` threads and torch takes one."""
    global _given  # noqa: PLW0603  a setting of the process, as torch's own is
    _given = max(1, n)
    torch.set_num_threads(1)


@contextmanager
def kernel_threads(n: int, of_torch: int = 1) -> Iterator[None]:
    """As `use_threads`, for a while, and with `of_torch` threads for torch."""
    global _given  # noqa: PLW0603
    before, before_of_torch = _given, torch.get_num_threads()
    use_threads(n)
    torch.set_num_threads(of_torch)
    try:
        yield
    finally:
        _given = before
        torch.set_num_threads(before_of_torch)


def n_threads() -> int:
    """Threads of a kernel: as many as `use_threads` gave, else as many as torch has."""
    return torch.get_num_threads() if _given is None else _given

"""A file's bytes as an array, of which this process keeps no more in memory than a budget allows."""

import fcntl
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

RESIDENT_BYTES = 512 << 20
"""Default budget of a process for the pictures that it reads."""
# Where a file lies in huge pages, Linux maps one of 2 MiB for a single byte, whatever it is advised.
_BLOCK_BITS = 21


class MappedFile:
    """A file that is read at random, by any number of processes, and is locked (shared) while it is open.

    A page that was read belongs to the process's resident memory until it is dropped. Where the file is
    larger than the budget, blocks that were read are counted, and all are dropped when the budget is used up:
    they stay in the system's page cache as long as there is room, and come back from there.
    """

    def __init__(self, path: Path, n_bytes: int, budget_bytes: int = RESIDENT_BYTES) -> None:
        with path.open("rb") as file:
            # The map keeps a copy of the descriptor, and with it the lock.
            fcntl.flock(file, fcntl.LOCK_SH)
            self._map = mmap.mmap(file.fileno(), n_bytes, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._most_blocks = max(1, budget_bytes >> _BLOCK_BITS)
        self._was_read = None
        if n_bytes > budget_bytes:
            self._map.madvise(mmap.MADV_RANDOM)
            self._was_read = np.zeros((n_bytes >> _BLOCK_BITS) + 1, np.bool_)

    def at(self, first: Int[np.ndarray, " n"], length: int) -> UInt8[np.ndarray, "n length"]:
        """`length` bytes from each of these places on."""
        place = first[:, None] + np.arange(length)
        if self._was_read is None:
            return self._bytes[place]
        found = np.empty(place.shape, np.uint8)
        for rows in self._portions(first >> _BLOCK_BITS):
            self._will_read(first[rows] >> _BLOCK_BITS)
            found[rows] = self._bytes[place[rows]]
        return found

    def part(self, first: int, n_bytes: int) -> UInt8[np.ndarray, " n"]:
        """A stretch of the file; a view that must not be written."""
        self._will_read(slice(first >> _BLOCK_BITS, ((first + n_bytes - 1) >> _BLOCK_BITS) + 1))
        return self._bytes[first : first + n_bytes]

    def _portions(self, block: Int[np.ndarray, " n"]) -> Iterator[Int[np.ndarray, " m"]]:
        """Rows whose blocks fit into the budget together, block by block."""
        order = np.argsort(block, kind="stable")
        starts = np.flatnonzero(np.diff(block[order], prepend=-1))
        yield from np.split(order, starts[self._most_blocks :: self._most_blocks])

    def _will_read(self, blocks: Int[np.ndarray, " n"] | slice) -> None:
        if self._was_read is None:
            return
        read = self._was_read.copy()
        read[blocks] = True
        if np.count_nonzero(read) > self._most_blocks:
            self._map.madvise(mmap.MADV_DONTNEED)
            read[:] = False
            read[blocks] = True
        self._was_read = read

"""The floor: what a field costs at least, from rates measured on this machine.

It has two parts, added because a batch's table and its networks are worked on one after the other:

- networks: the multiply-adds of the forward pass (sum of fan_in x fan_out), and for the backward pass twice
  as many again (gradients of inputs and of weights), at the rate of multiply-adds on registers;
- table: eight accesses a level and sample, at the rate of accesses to random rows of a table of that level's
  size that is in the caches as far as it fits: read in the forward pass, read, added to and written in the
  backward pass. A level's size is rounded down to a power of two.

Computing activations anew in the backward pass is not part of it, nor is finding corners, the loss or the
optimiser. Neighbouring samples share rows, which random accesses do not, so the table's part can be beaten.
Rates are those of as many threads at once as the field is given, each with a table of its own. All have equal
work and end with the slowest; kernels share theirs on demand. So where other processes take a core, a field
on several threads can look closer to the floor than it is, or be below it: there, trust one thread.
"""

import ctypes
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from anerf.bench.timing import seconds_of
from anerf.field.layout import FieldLayout, MlpLayout
from anerf.field.library import kernels
from anerf.field.native import call

CORNERS = 8
# Long enough that starting threads, and an idle core that takes milliseconds to wake, do not count.
_REPEATS = 1 << 22  # of a dozen vectors of multiply-adds
_ACCESSES = 1 << 23

Operation = Literal["multiply-add", "read", "add"]


@dataclass(frozen=True)
class Rate:
    """What is measured: nanoseconds of one operation; of a row access in a table of 2^`log2_rows` rows."""

    operation: Operation
    log2_rows: int = 0


@dataclass(frozen=True)
class FloorParts:
    """Nanoseconds a sample."""

    networks_ns: float
    table_ns: float

    @property
    def ns(self) -> float:
        """Both parts."""
        return self.networks_ns + self.table_ns


@dataclass(frozen=True)
class Floor:
    """The floor of one layout at one number of threads."""

    forward: FloorParts
    forward_backward: FloorParts


def multiply_adds(layout: FieldLayout) -> int:
    """Of one sample through both networks, forward, without padding."""
    return _multiply_adds(layout.sigma_mlp) + _multiply_adds(layout.color_mlp)


def _multiply_adds(mlp: MlpLayout) -> int:
    hidden = (mlp.n_hidden_layers - 1) * mlp.width**2
    return mlp.n_in * mlp.width + hidden + mlp.width * mlp.n_out


def level_sizes(layout: FieldLayout) -> list[int]:
    """log2 of each level's rows, rounded down."""
    return [int(math.log2(level.entries)) for level in layout.grid.levels]


def floor_measurements(layout: FieldLayout, threads: int) -> dict[Rate, Callable[[], float]]:
    """All that `floor_of` needs: calls that measure one rate each."""
    n_features, sizes = layout.grid.n_features, sorted(set(level_sizes(layout)))
    tables = torch.zeros(threads * n_features << sizes[-1])

    def access(rate: Rate) -> Callable[[], float]:
        return lambda: _ns_of_access(rate, threads, n_features, tables)

    measurements: dict[Rate, Callable[[], float]] = {
        Rate("multiply-add"): lambda: _ns_of_multiply_add(threads)
    }
    rates = [Rate(operation, size) for size in sizes for operation in ("read", "add")]
    return measurements | {rate: access(rate) for rate in rates}


def floor_of(layout: FieldLayout, ns: Mapping[Rate, float]) -> Floor:
    """The floor from rates measured for this layout."""
    networks = multiply_adds(layout) * ns[Rate("multiply-add")]
    read = sum(CORNERS * ns[Rate("read", size)] for size in level_sizes(layout))
    add = sum(CORNERS * ns[Rate("add", size)] for size in level_sizes(layout))
    return Floor(FloorParts(networks, read), FloorParts(3 * networks, read + add))


def _ns_of_multiply_add(threads: int) -> float:
    """Of all threads together: with two threads, half of what each one takes."""
    function, out, done = kernels().anerf_floor_multiply_add, ctypes.c_float(), 0
    function.restype = ctypes.c_long

    def run() -> None:
        nonlocal done
        done = function(ctypes.c_int(threads), ctypes.c_long(_REPEATS), ctypes.byref(out))

    seconds = seconds_of(run)
    return 1e9 * seconds / (done * threads)


def _ns_of_access(rate: Rate, threads: int, n_features: int, tables: torch.Tensor) -> float:
    """Of all threads together; the table has been visited just before."""
    rows, out = 1 << rate.log2_rows, torch.zeros(1)

    def run(n: int) -> None:
        adds = int(rate.operation == "add")
        call("anerf_floor_access", threads, n, rows, n_features, adds, tables, out)

    run(2 * rows)
    return 1e9 * seconds_of(lambda: run(_ACCESSES)) / (_ACCESSES * threads)

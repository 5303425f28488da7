"""What a step of the optimiser costs beside the batch that it follows.

Ours visits the lines of the table that the batch touched and clears their gradient as it goes. The usual way
has a gradient as long as the table: `torch.optim.Adam(fused=True)` and `zero_grad` visit all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from anerf.bench.batches import Batch, Contender, TableShape
from anerf.bench.field_speed import SHAPES
from anerf.bench.timing import Progress, Steps, interleaved, seconds_of
from anerf.field.memory import prefer_huge_pages
from anerf.field.threads import kernel_threads, n_threads
from anerf.learn.optimiser import Moments, step_touched

_RATE = 1e-3


@dataclass(frozen=True)
class OptimiserPlan:
    """Tables, samples a batch, and of how many rounds the median is taken."""

    shapes: tuple[TableShape, ...]
    n_samples: int
    rounds: int


FULL = OptimiserPlan((*SHAPES, TableShape(16, 2, 20)), n_samples=4096, rounds=9)
QUICK = OptimiserPlan(SHAPES, n_samples=4096, rounds=3)


@dataclass(frozen=True)
class OptimiserRow:
    """Milliseconds of a batch (forward and backward), of our step after it, and of the dense one."""

    table: str
    n_params: int
    threads: int
    n_samples: int
    touched_share: float
    batch_ms: float
    step_touched_ms: float
    dense_adam_ms: float


def measure_optimiser(plan: OptimiserPlan, progress: Progress | None = None) -> tuple[OptimiserRow, ...]:
    """Measure one row a table, with all threads that there are."""
    done = Steps(plan.rounds * len(plan.shapes), progress)
    return tuple(_measure(shape, plan, done) for shape in plan.shapes)


def _measure(shape: TableShape, plan: OptimiserPlan, done: Callable[[], None]) -> OptimiserRow:
    layout, threads = shape.layout(), n_threads()
    contender = Contender.of("cpu", "cpu", layout)
    grid, touched = contender.params.grid, contender.params.touched
    assert touched is not None
    batch = Batch.along_rays(layout, plan.n_samples, contender.device)
    moments = Moments.zeros_like(grid.detach())
    prefer_huge_pages(moments.first, moments.second)
    dense = torch.zeros_like(grid).requires_grad_()
    dense.grad = torch.zeros_like(dense)
    adam = torch.optim.Adam([dense], lr=_RATE, fused=True)

    contender.forward_backward(batch)
    touched_share = float(touched.marks.float().mean())

    def batch_alone() -> float:
        with contender.given_threads(threads):
            return seconds_of(lambda: contender.forward_backward(batch))

    def step() -> float:
        with contender.given_threads(threads):
            contender.forward_backward(batch)
            return seconds_of(lambda: step_touched("adam", grid, touched, moments, _RATE))

    def adam_and_clear() -> None:
        adam.step()
        adam.zero_grad(set_to_none=False)

    def step_dense() -> float:
        assert dense.grad is not None
        dense.grad.fill_(_RATE)
        with kernel_threads(threads, of_torch=threads):
            return seconds_of(adam_and_clear)

    turns = {"batch": batch_alone, "step": step, "dense": step_dense}
    seconds = interleaved(turns, plan.rounds, done)
    return OptimiserRow(
        table=shape.name,
        n_params=grid.numel(),
        threads=threads,
        n_samples=plan.n_samples,
        touched_share=touched_share,
        batch_ms=1e3 * seconds["batch"],
        step_touched_ms=1e3 * seconds["step"],
        dense_adam_ms=1e3 * seconds["dense"],
    )

"""Optimiser steps that visit touched lines only, and the log that undoes them."""

import pytest
import torch

from anerf.field.touched import LINE, TouchedGradient, UndoLog
from anerf.learn.optimiser import Moments, step_sparse, step_touched

N_LINES = 40_000  # more than a thread takes at a time


def touch(touched: TouchedGradient, seed: int) -> torch.Tensor:
    """Puts a gradient into a few lines, half of whose values have none; gives the dense one."""
    generator = torch.Generator().manual_seed(seed)
    lines = torch.randperm(len(touched.marks), generator=generator)[: len(touched.marks) // 50]
    rows = torch.randn(len(lines), LINE, generator=generator)
    rows[torch.rand(rows.shape, generator=generator) < 0.5] = 0
    touched.values.view(-1, LINE)[lines] = rows
    touched.marks[lines] = 1
    return touched.dense()


def start() -> torch.Tensor:
    return torch.randn(N_LINES * LINE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_touched_steps_are_the_sparse_ones(kind, kernel_variant):
    table, twin = start(), start()
    moments, twins_moments = Moments.zeros_like(table), Moments.zeros_like(twin)
    touched = TouchedGradient.of(table)
    ever = torch.zeros(len(table), dtype=torch.bool)
    for step in range(6):
        grad = touch(touched, step % 4)  # some lines come back
        ever |= grad != 0
        step_sparse(kind, twin, grad, twins_moments, 0.1 / (1 + step))
        step_touched(kind, table, touched, moments, 0.1 / (1 + step))
        assert not touched.values.any()
        assert not touched.marks.any()
    assert moments.steps == twins_moments.steps == 6
    assert torch.allclose(table, twin, rtol=1e-6, atol=1e-6)
    assert torch.allclose(moments.first, twins_moments.first, rtol=1e-6, atol=1e-7)
    assert torch.allclose(moments.second, twins_moments.second, rtol=1e-6, atol=1e-7)
    assert 0 < ever.sum() < len(table) / 10
    assert torch.equal(table[~ever], start()[~ever])
    assert (table[ever] != start()[ever]).float().mean() > 0.999
    assert not moments.first[~ever].any()


def test_two_adam_steps_by_hand():
    """As `test_second_adam_step_by_hand` of the dense step, but one value of the line stays out of it."""
    table = torch.zeros(LINE)
    table[1] = 7.0
    moments, touched = Moments.zeros_like(table), TouchedGradient.of(table)
    for grad in (1.0, 3.0):
        touched.values[0] = grad
        touched.marks[0] = 1
        step_touched("adam", table, touched, moments, rate=1.0)
    first = (0.9 * 0.1 + 0.1 * 3.0) / (1 - 0.81)
    second = (0.99 * 0.01 + 0.01 * 9.0) / (1 - 0.9801)
    assert table.tolist() == pytest.approx([-1.0 - first / second**0.5, 7, 0, 0, 0, 0, 0, 0], rel=1e-5)
    touched.values[0] = 2.0
    touched.marks[0] = 1
    before = table[0].item()
    step_touched("sgd", table, touched, moments, rate=0.25)
    assert table[0].item() == pytest.approx(before - 0.5)


def test_unmarked_lines_are_not_visited():
    table = start()
    touched = TouchedGradient.of(table)
    touched.values.fill_(1.0)
    touched.marks[[3, N_LINES - 1]] = 1
    step_touched("sgd", table, touched, Moments.zeros_like(table), 1.0)
    moved = (table != start()).view(-1, LINE).any(1).nonzero()[:, 0]
    assert moved.tolist() == touched.values.view(-1, LINE).eq(0).all(1).nonzero()[:, 0].tolist()
    assert moved.tolist() == [3, N_LINES - 1]


@pytest.mark.parametrize("n_threads", [2, 5])
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_any_number_of_threads_steps_the_same(kind, n_threads, threads):
    tables = []
    for number in (1, n_threads):
        threads(number)
        table = start()
        moments, touched = Moments.zeros_like(table), TouchedGradient.of(table)
        for step in range(3):
            touch(touched, step)
            step_touched(kind, table, touched, moments, 0.01)
        tables.append(table)
    assert torch.equal(*tables)


def test_the_log_undoes_to_the_last_bit():
    table = start()
    log = UndoLog(table)
    generator = torch.Generator().manual_seed(4)
    rows = table.view(-1, LINE)
    everything = []
    for _ in range(3):
        lines = torch.randperm(N_LINES, generator=generator)[:9000]  # the choices overlap
        everything.append(lines)
        log.remember(lines)
        rows[lines] *= torch.rand(9000, LINE, generator=generator)
    lines, moved = log.changes()
    assert torch.equal(lines.sort().values, torch.cat(everything).unique())
    assert torch.equal(moved, start().view(-1, LINE)[lines] - rows[lines])
    assert not torch.equal(table, start())
    log.restore()
    assert torch.equal(table, start())
    assert len(log.changes()[0]) == 0
    # It may be used again, and knows nothing of before.
    log.remember(lines[:5])
    rows[lines[:5]] = 0
    log.restore()
    assert torch.equal(table, start())


def test_an_empty_log_restores_nothing():
    table = start()
    log = UndoLog(table)
    assert [len(part) for part in log.changes()] == [0, 0]
    log.restore()
    log.remember(torch.empty(0, dtype=torch.int64))
    log.restore()
    assert torch.equal(table, start())

"""Optimiser steps by hand."""

import pytest
import torch

from anerf.learn.optimiser import FisherDamping, Moments, Rates, step_dense, step_sparse


def test_first_adam_step_is_the_rate_in_the_gradients_direction():
    p = torch.tensor([1.0, 1.0])
    step_dense("adam", p, torch.tensor([0.3, -20.0]), Moments.zeros_like(p), rate=0.1)
    assert p.tolist() == pytest.approx([0.9, 1.1])


def test_second_adam_step_by_hand():
    p, moments = torch.tensor([0.0]), Moments.zeros_like(torch.zeros(1))
    step_dense("adam", p, torch.tensor([1.0]), moments, rate=1.0)
    step_dense("adam", p, torch.tensor([3.0]), moments, rate=1.0)
    first = (0.9 * 0.1 + 0.1 * 3.0) / (1 - 0.81)
    second = (0.99 * 0.01 + 0.01 * 9.0) / (1 - 0.9801)
    assert p.item() == pytest.approx(-1.0 - first / second**0.5, rel=1e-5)


def test_untouched_values_do_not_move():
    table, moments = torch.ones(6), Moments.zeros_like(torch.ones(6))
    step_sparse("adam", table, torch.tensor([1.0, 0, 0, 0, 0, 0]), moments, rate=0.1)
    step_sparse("adam", table, torch.tensor([0.0, 0, 0, 0, 1.0, 0]), moments, rate=0.1)
    assert table[0].item() == pytest.approx(0.9)  # its old momentum does not carry it on
    assert table[2:4].tolist() == [1.0, 1.0]
    assert moments.first[2:4].tolist() == [0.0, 0.0]


def test_values_step_as_dense_where_all_are_touched():
    generator = torch.Generator().manual_seed(3)
    grads = torch.randn(5, 8, generator=generator)
    by_value, dense = torch.zeros(8), torch.zeros(8)
    value_moments, dense_moments = Moments.zeros_like(by_value), Moments.zeros_like(dense)
    for grad in grads:
        step_sparse("adam", by_value, grad, value_moments, 0.1)
        step_dense("adam", dense, grad, dense_moments, 0.1)
    assert torch.allclose(by_value, dense, atol=1e-6)


def test_sgd_and_adamw():
    p = torch.tensor([1.0])
    step_dense("sgd", p, torch.tensor([2.0]), Moments.zeros_like(p), rate=0.25)
    assert p.item() == pytest.approx(0.5)
    step_dense("adamw", p, torch.tensor([1.0]), Moments.zeros_like(p), rate=0.1)
    assert p.item() == pytest.approx(0.5 * (1 - 0.1 * 0.01) - 0.1)


def test_rates_decay_and_warm_up():
    rates = Rates(1, 1, 1, 1, decay_factor=10, outer_steps=100, warmup_steps=4)
    assert rates.factor(0) == pytest.approx(0.25)
    assert rates.factor(50) == pytest.approx(10**-0.5)
    assert rates.factor(100) == pytest.approx(0.1)
    assert rates.factor(500) == pytest.approx(0.1)


def test_fisher_damps_what_matters():
    damping, estimates = FisherDamping(1.0, 0.5, 0.0), {}
    damped = damping.damped(estimates, "grid", torch.tensor([1.0, 3.0]))
    # F = (1, 9), mean 5: factors 1 / (1 + 0.2) and 1 / (1 + 1.8)
    assert damped.tolist() == pytest.approx([1 / 1.2, 3 / 2.8])
    damping.damped(estimates, "grid", torch.tensor([0.0, 1.0]))
    assert estimates["grid"].tolist() == pytest.approx([0.5, 5.0])

"""Inner loops on the kernels and on the twin, and both by the equations of Nichol et al. 2018."""

from dataclasses import replace

import pytest
import torch

from anerf.errors import BackendError
from anerf.field.params import FieldParams
from anerf.field.touched import TouchedGradient
from anerf.learn.algorithms import OuterSettings, _meta_gradient, inner_steps
from anerf.learn.fast_weights import FastWeights, InnerRule
from anerf.learn.optimiser import BETA1, BETA2, EPSILON, Moments
from anerf.learn.rays import step_generator

NAMES = ("grid", "sigma_mlp", "color_mlp")
RATE = 0.1
RULE = InnerRule("all", "sgd", RATE, RATE)


def toy_params(touched: bool) -> FieldParams:
    """Vectors that no field would have; the table fills three lines."""
    generator = torch.Generator().manual_seed(1)
    vectors = [torch.randn(n, generator=generator).requires_grad_() for n in (24, 3, 5)]
    return FieldParams(*vectors, touched=TouchedGradient.of(vectors[0]) if touched else None)


class Bowl:
    """The loss `sum 1/2 a (phi - c)^2` with random a and c: its gradient is `a (phi - c)`."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.a = [torch.rand(n, generator=generator) for n in (24, 3, 5)]
        self.a[0][8:16] = 0  # the table's second line is not touched
        self.c = [torch.randn(n, generator=generator) for n in (24, 3, 5)]

    def loss(self, params: FieldParams) -> torch.Tensor:
        """The loss; where a table's gradient goes past autograd, as a kernel would write it."""
        terms = [
            (a * (p - c) ** 2).sum() / 2 for a, p, c in zip(self.a, params.tensors(), self.c, strict=True)
        ]
        if params.touched is None:
            return sum(terms, torch.zeros(()))
        grid = self.a[0] * (params.grid.detach() - self.c[0])
        params.touched.values.add_(grid)
        params.touched.marks[grid.view(-1, 8).abs().sum(1) > 0] = 1
        return terms[1] + terms[2]

    def after(self, theta: FieldParams, steps: int) -> list[torch.Tensor]:
        """`phi_k = c + (1 - alpha a)^k (theta - c)`."""
        return [
            c + (1 - RATE * a) ** steps * (t.detach() - c)
            for a, c, t in zip(self.a, self.c, theta.tensors(), strict=True)
        ]


def scratch_of(params: FieldParams) -> TouchedGradient | None:
    return None if params.touched is None else TouchedGradient.of(params.grid)


def assert_clean(touched: TouchedGradient) -> None:
    assert not touched.values.any()
    assert not touched.marks.any()


@pytest.fixture(params=[False, True], ids=["torch", "touched"])
def theta(request) -> FieldParams:
    return toy_params(request.param)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_reptiles_gradient_is_its_equation(theta, steps):
    """`(theta - phi_k) / alpha` (Nichol et al. 2018, section 4), by the number of steps."""
    bowl, scratch = Bowl(2), scratch_of(theta)
    before = [t.detach().clone() for t in theta.tensors()]
    with FastWeights(theta, RULE, scratch) as fast:
        for _ in range(steps):
            fast.step(bowl.loss(fast.params))
        phi = [t.detach().clone() for t in fast.params.tensors()]
        way_back = fast.way_back(1 / steps)
    expected = bowl.after(theta, steps)
    for got, at in zip(phi, expected, strict=True):
        assert torch.allclose(got, at, atol=1e-6)
    if theta.touched is not None:
        assert "grid" not in way_back
        assert theta.touched.lines().tolist() == [0, 2]
        way_back["grid"] = theta.touched.values
    for name, old, at in zip(NAMES, before, expected, strict=True):
        assert torch.allclose(way_back[name], (old - at) / (RATE * steps), atol=1e-5)
    assert all(torch.equal(t, old) for t, old in zip(theta.tensors(), before, strict=True))


def test_reptile_sums_the_gradients_along_the_way(theta):
    """`g_Reptile = g_1 + g_2`, each taken where its step began (section 5.1); here their mean."""
    bowl = Bowl(2)
    with FastWeights(theta, RULE, scratch_of(theta)) as fast:
        for _ in range(2):
            fast.step(bowl.loss(fast.params))
        way_back = fast.way_back(1 / 2)
    for i, name in ((1, "sigma_mlp"), (2, "color_mlp")):
        g1 = bowl.a[i] * (theta.tensors()[i].detach() - bowl.c[i])
        g2 = bowl.a[i] * (bowl.after(theta, 1)[i] - bowl.c[i])
        assert torch.allclose(way_back[name], (g1 + g2) / 2, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_fomamls_gradient_is_its_equation(theta, steps):
    """The query loss' gradient at phi; after one step `g_2 - alpha H_2 g_1` (Nichol et al. 2018, 5.1)."""
    support, query, scratch = Bowl(2), Bowl(3), scratch_of(theta)
    before = [t.detach().clone() for t in theta.tensors()]
    with FastWeights(theta, RULE, scratch) as fast:
        for _ in range(steps):
            fast.step(support.loss(fast.params))
        params = fast.for_query()
        loss = query.loss(params)
        wanted = params.tensors() if params.touched is None else params.tensors()[1:]
        grads = list(torch.autograd.grad(loss, wanted))
    if params.touched is not None:
        assert params.touched is theta.touched
        assert_clean(scratch)
        grads.insert(0, theta.touched.values)
    phi = support.after(theta, steps)
    for i, grad in enumerate(grads):
        assert torch.allclose(grad, query.a[i] * (phi[i] - query.c[i]), atol=1e-6)
        if steps == 1:
            g1 = support.a[i] * (before[i] - support.c[i])
            g2 = query.a[i] * (before[i] - query.c[i])
            assert torch.allclose(grad, g2 - RATE * query.a[i] * g1, atol=1e-6)
    assert all(torch.equal(t, old) for t, old in zip(theta.tensors(), before, strict=True))


def test_an_error_inside_leaves_the_weights_as_they_were():
    theta, bowl = toy_params(touched=True), Bowl(2)
    scratch = TouchedGradient.of(theta.grid)
    before = theta.grid.detach().clone()

    def fail() -> None:
        with FastWeights(theta, RULE, scratch) as fast:
            fast.step(bowl.loss(fast.params))
            assert not torch.equal(theta.grid, before)
            bowl.loss(fast.params)  # leaves its gradient behind
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(theta.grid, before)
    assert_clean(scratch)
    assert_clean(theta.touched)


def test_kernels_have_no_second_order():
    theta = toy_params(touched=True)
    for scratch, second_order in ((TouchedGradient.of(theta.grid), True), (None, False)):
        with pytest.raises(BackendError, match="fast weights on the cpu backend"):
            FastWeights(theta, RULE, scratch, second_order=second_order)


def expert_with_contrast(make_expert, algo: str, on_torch: bool):
    """A fresh expert whose table is not flat, so that every gradient counts."""
    expert = make_expert(algo, rays=256, on_torch=on_torch)
    with torch.no_grad():
        expert.state.params.grid.mul_(3e3)
    return expert


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("fast", ["all", "mlp"])
@pytest.mark.parametrize("algo", ["fomaml", "reptile"])
def test_meta_gradients_are_the_twins(algo, fast, make_expert):
    results = []
    for on_torch in (False, True):
        expert = expert_with_contrast(make_expert, algo, on_torch)
        state = expert.state
        before = [t.detach().clone() for t in state.params.tensors()]
        generator = step_generator(3, 0, 0, "train")
        # A long way, of which rounding the table's values is a small part.
        rule = InnerRule(fast, "sgd", 1.0, 1.0)
        settings = replace(expert.settings, inner=rule, task_shift=1.0)
        if algo == "fomaml":
            state.learn_inner_rates(rule.log_rates())
        grads, result = _meta_gradient(expert.learner, settings, state, expert.rays, expert.cells, generator)
        assert all(torch.equal(t, old) for t, old in zip(state.params.tensors(), before, strict=True))
        if not on_torch:
            assert_clean(state.scratch)
            grads["grid"] = state.params.touched.values
        results.append((grads, result.loss))
    (ours, loss), (twins, twins_loss) = results
    assert ours.keys() == twins.keys()
    assert ours.keys() == {*NAMES, "background"} | ({"inner_rates"} if algo == "fomaml" else set())
    if algo == "fomaml":
        assert (ours["inner_rates"][0] == 0) == (fast == "mlp")
    assert loss == pytest.approx(twins_loss, rel=1e-5)
    errors = {name: error(ours[name], twins[name]) for name in twins}
    assert max(errors.values()) < 3e-4, errors


def test_inner_steps_move_a_copy_of_the_twins_weights_alike(make_expert):
    moved = []
    rule = InnerRule("all", "sgd", 1.0, 1.0)
    for on_torch in (False, True):
        expert = expert_with_contrast(make_expert, "fomaml", on_torch)
        state, settings = expert.state, OuterSettings("fomaml", 0, 1, 128, 128, 3, rule)
        before = {name: t.detach().clone() for name, t in state.params.items()}
        generator = step_generator(4, 0, 0, "train")
        support = expert.rays.draw(128, generator)
        with FastWeights(state.params, rule, state.scratch) as fast:
            inner_steps(expert.learner, settings, state, fast, support, generator)
            moved.append({name: t.detach() - before[name] for name, t in fast.params.items()})
        assert all(torch.equal(t, before[name]) for name, t in state.params.items())
    for name in NAMES:
        assert error(moved[0][name], moved[1][name]) < 1e-3


def test_adam_in_an_inner_loop_is_adam(theta):
    """Against torch's own, from the same start with the same gradients."""
    bowl = Bowl(2)
    rule = InnerRule("all", "adam", RATE, RATE)
    by_torch = [t.detach().clone().requires_grad_() for t in theta.tensors()]
    adam = torch.optim.Adam(by_torch, lr=RATE, betas=(BETA1, BETA2), eps=EPSILON)
    for _ in range(4):
        adam.zero_grad()
        bowl.loss(FieldParams(*by_torch)).backward()
        adam.step()
    moments = Moments.zeros_like(theta.grid.detach())
    with FastWeights(theta, rule, scratch_of(theta), moments) as fast:
        for _ in range(4):
            fast.step(bowl.loss(fast.params))
        for got, expected in zip(fast.params.tensors(), by_torch, strict=True):
            assert torch.allclose(got, expected, atol=1e-6)
    assert not moments.second.any()


def test_networks_alone_are_fast(theta):
    bowl, query = Bowl(2), Bowl(3)
    rule = InnerRule("mlp", "sgd", RATE, RATE)
    with FastWeights(theta, rule, scratch_of(theta)) as fast:
        for _ in range(3):
            fast.step(bowl.loss(fast.params))
        assert torch.equal(fast.params.grid, theta.grid)
        params = fast.for_query()
        assert params.grid.requires_grad
        assert params.touched is theta.touched
        assert torch.allclose(params.color_mlp, bowl.after(theta, 3)[2], atol=1e-6)
        query.loss(params).backward()
    grid = theta.grid.grad if theta.touched is None else theta.touched.values
    assert torch.allclose(grid, query.a[0] * (theta.grid.detach() - query.c[0]), atol=1e-6)


def test_trainings_on_kernels_and_twin_go_the_same_way(make_expert):
    ours, twins = (make_expert(rays=256, on_torch=on_torch) for on_torch in (False, True))
    losses = [[expert.advance(step + 1).loss for step in range(20)] for expert in (ours, twins)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert losses[0][-1] < 0.9 * losses[0][0]

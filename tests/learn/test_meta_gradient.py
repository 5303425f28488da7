"""MAML's gradient against finite differences, FOMAML's inner step against its equation, in float64."""

from dataclasses import replace

import pytest
import torch

from anerf.field.backend import DensityScale, TorchBackend
from anerf.field.layout import field_layout, grid_layout
from anerf.field.params import NAMES, FieldParams, init_field
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.learn.algorithms import OuterSettings, inner_steps
from anerf.learn.fast_weights import FastWeights, InnerRule
from anerf.learn.objective import Learner, batch_loss
from anerf.learn.rays import RayBatch
from anerf.learn.state import ExpertState
from anerf.render.density_grid import new_density_grid
from anerf.render.expert import FieldSetting
from anerf.render.samples import Sampling

BOX = Aabb((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPEC = FieldSpec(
    n_levels=2, features_per_level=2, log2_hashmap_size=6, base_resolution=2, max_resolution=4, sigma_depth=1,
    color_depth=1, sigma_width=16, color_width=16, dir_encoding="spherical", density_cap_per_m=1e4,
    color_space="srgb", background="0.2,0.4,0.6", background_width=16, sample_floor=0.3,
)  # fmt: skip


@pytest.fixture
def learner():
    layout = field_layout(
        grid_layout(2, 2, 6, 2, 2.0), sigma_depth=1, sigma_width=16, color_depth=1, color_width=16,
        dir_encoding="spherical",
    )  # fmt: skip
    setting = FieldSetting(TorchBackend(), layout, DensityScale(0.5, 9.0))
    return Learner(SPEC, setting, Sampling(4, 0.3, n_coarse=8), "adam")


@pytest.fixture
def state(learner):
    fresh = init_field(learner.setting.layout, torch.Generator().manual_seed(0))
    params = FieldParams(
        (fresh.grid.double() * 3e3).requires_grad_(),
        fresh.sigma_mlp.double().requires_grad_(),
        fresh.color_mlp.double().requires_grad_(),
    )
    density = new_density_grid(torch.zeros(3).double(), torch.ones(3).double(), (2, 2, 2), 1.0)
    return ExpertState(params, None, {}, density, BOX)


def rays(seed: int) -> RayBatch:
    generator = torch.Generator().manual_seed(seed)
    n = 6
    rays_o = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 0.5 + 0.25
    rays_o[:, 2] = 2.0
    rays_d = torch.tensor([[0.05, 0.03, -1.0]], dtype=torch.float64).expand(n, 3)
    rays_d = rays_d / rays_d.norm(dim=1, keepdim=True)
    rgb = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    return RayBatch(
        rays_o, rays_d, rgb, torch.ones(n, dtype=torch.float64), torch.zeros(n, 8, dtype=torch.float64),
        torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64),
    )  # fmt: skip


RULE = InnerRule("all", "sgd", 0.05, 0.05)
SETTINGS = OuterSettings("maml", 0, 1, 6, 6, inner_iter=2, inner=RULE)


def query_loss(learner, state, params, second_order, rule=RULE, log_rates=None):
    """Query loss after the inner steps, as a function of the slow parameters and the inner rates alone."""
    moved = ExpertState(params, None, {}, state.density, state.box)
    generator = torch.Generator().manual_seed(7)
    with FastWeights(params, rule, log_rates=log_rates, second_order=second_order) as fast:
        inner_steps(learner, SETTINGS, moved, fast, rays(1), generator)
        return batch_loss(learner, moved, rays(2), generator, fast.for_query(), update_density=False)


@pytest.mark.parametrize("vector", ["grid", "sigma_mlp", "color_mlp"])
@pytest.mark.parametrize("fast", ["all", "mlp"])
def test_maml_gradient_agrees_with_finite_differences(learner, state, fast, vector):
    rule = replace(RULE, fast=fast)
    loss = query_loss(learner, state, state.params, True, rule)
    at = getattr(state.params, vector)
    (gradient,) = torch.autograd.grad(loss, [at])
    direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    h = 1e-5
    sides = []
    for sign in (1, -1):
        moved = {vector: (at.detach() + sign * h * direction).requires_grad_()}
        params = replace(state.params, **moved)
        sides.append(query_loss(learner, state, params, True, rule).item())
    assert (gradient @ direction).item() == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-4)


def test_gradient_of_inner_rates_agrees_with_finite_differences(learner, state):
    """Exactly through MAML; the first-order formula leaves out what rates do to later inner gradients."""
    log_rates = RULE.log_rates().double().requires_grad_()
    loss = query_loss(learner, state, state.params, True, log_rates=log_rates)
    (gradient,) = torch.autograd.grad(loss, [log_rates])
    h = 1e-5
    for i in range(3):
        step = h * torch.eye(3, dtype=torch.float64)[i]
        sides = [
            query_loss(learner, state, state.params, True, log_rates=log_rates.detach() + sign * step).item()
            for sign in (1, -1)
        ]
        assert gradient[i].item() == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-4, abs=1e-12)
    one_step = replace(SETTINGS, inner_iter=1)
    with FastWeights(state.params, RULE) as fast:
        inner_steps(learner, one_step, state, fast, rays(1), torch.Generator().manual_seed(7))
        query = torch.Generator().manual_seed(8)
        loss = batch_loss(learner, state, rays(2), query, fast.params, update_density=False)
        grads = dict(zip(NAMES, torch.autograd.grad(loss, fast.params.tensors()), strict=True))
        first_order = fast.rate_gradient(grads, None)
    with FastWeights(state.params, RULE, log_rates=log_rates, second_order=True) as fast:
        inner_steps(learner, one_step, state, fast, rays(1), torch.Generator().manual_seed(7))
        query = torch.Generator().manual_seed(8)
        loss = batch_loss(learner, state, rays(2), query, fast.params, update_density=False)
        (exact,) = torch.autograd.grad(loss, [log_rates])
    assert torch.allclose(first_order, exact, rtol=1e-6)  # after one step nothing is left out


def test_inner_steps_are_gradient_descent(learner, state):
    generator = torch.Generator().manual_seed(5)
    with FastWeights(state.params, RULE) as fast:
        inner_steps(learner, SETTINGS, state, fast, rays(1), generator)
    generator = torch.Generator().manual_seed(5)
    by_hand = state.params.detached()
    for _ in range(2):
        loss = batch_loss(learner, state, rays(1), generator, by_hand, update_density=False)
        grads = torch.autograd.grad(loss, by_hand.tensors())
        stepped = (p - 0.05 * g for p, g in zip(by_hand.tensors(), grads, strict=True))
        by_hand = FieldParams(*(t.detach().requires_grad_() for t in stepped))
    for one, other in zip(fast.params.tensors(), by_hand.tensors(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(fast.params.color_mlp, state.params.color_mlp)

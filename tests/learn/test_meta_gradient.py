"""MAML's gradient against finite differences, FOMAML's inner step against its equation, in float64."""

import pytest
import torch

from anerf.field.backend import DensityScale, TorchBackend
from anerf.field.layout import field_layout, grid_layout
from anerf.field.params import FieldParams, init_field
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.learn.algorithms import OuterSettings, inner_steps
from anerf.learn.fast_weights import FastWeights
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


SETTINGS = OuterSettings("maml", 0, 1, 6, 6, inner_iter=2, inner_lr=0.05)


def query_loss(learner, state, params, second_order):
    """Query loss after the inner steps, as a function of the slow parameters alone."""
    moved = ExpertState(params, None, {}, state.density, state.box)
    generator = torch.Generator().manual_seed(7)
    with FastWeights(params, None, second_order) as fast:
        inner_steps(learner, SETTINGS, moved, fast, rays(1), generator)
        return batch_loss(learner, moved, rays(2), generator, fast.params, update_density=False)


def test_maml_gradient_agrees_with_finite_differences(learner, state):
    loss = query_loss(learner, state, state.params, second_order=True)
    (gradient,) = torch.autograd.grad(loss, [state.params.color_mlp])
    direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    h = 1e-5
    sides = []
    for sign in (1, -1):
        color = (state.params.color_mlp.detach() + sign * h * direction).requires_grad_()
        params = FieldParams(state.params.grid, state.params.sigma_mlp, color)
        sides.append(query_loss(learner, state, params, second_order=True).item())
    assert (gradient @ direction).item() == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5)


def test_inner_steps_are_gradient_descent(learner, state):
    generator = torch.Generator().manual_seed(5)
    with FastWeights(state.params, None) as fast:
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

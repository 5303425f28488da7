"""Outer steps: plain training, FOMAML, MAML and Reptile.

Finn et al. 2017 (MAML and its first-order variant), Nichol et al. 2018 (Reptile). A task is a ground cell of
the expert's region; its support and query rays come from different photographs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.params import FieldParams
from anerf.learn.objective import Learner, batch_loss, grads_of
from anerf.learn.optimiser import FisherDamping, Rates
from anerf.learn.rays import RayBatch, RaySource
from anerf.learn.state import ExpertState
from anerf.learn.tasks import TaskCells


@dataclass(frozen=True)
class OuterSettings:
    """How an outer step is made; ray counts are per expert (plain) or per task (the others)."""

    algo: str
    rays_per_step: int
    batch_size: int
    support_rays: int
    query_rays: int
    inner_iter: int
    inner_lr: float


@dataclass(frozen=True)
class StepResult:
    """Loss of a step (mean over its rays or query rays) and how many rays it evaluated."""

    loss: float
    n_rays: int


def outer_step(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    rays: RaySource,
    cells: TaskCells,
    rates: Rates,
    generator: torch.Generator,
    fisher: FisherDamping | None = None,
) -> StepResult:
    """Move the state by one outer step of `settings.algo`; all randomness comes from `generator`.

    Raises:
        BackendError: `maml` with a backend that has no second derivative.
    """
    if settings.algo == "plain":
        device = state.params.grid.device
        batch = rays.draw(settings.rays_per_step, generator).to(device)
        loss = batch_loss(learner, state, batch, generator)
        grads = grads_of(loss, state)
        result = StepResult(float(loss.detach()), settings.rays_per_step)
    else:
        grads, result = _meta_gradient(learner, settings, state, rays, cells, generator)
    state.apply(grads, rates, learner.optimizer, learner.setting.layout, fisher)
    state.step += 1
    return result


def _meta_gradient(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    rays: RaySource,
    cells: TaskCells,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], StepResult]:
    if settings.algo == "maml" and learner.setting.backend.name != "torch":
        raise BackendError(
            f"backend {learner.setting.backend.name!r} has no second derivative, which maml needs:"
            " use algo fomaml, or the torch backend"
        )
    device = state.params.grid.device
    total: dict[str, Tensor] = {}
    loss_sum = 0.0
    for _ in range(settings.batch_size):
        task = cells.draw(generator)
        support = rays.draw(settings.support_rays, generator, task.support).to(device)
        query = rays.draw(settings.query_rays, generator, task.query).to(device)
        if settings.algo == "maml":
            fast = adapted(learner, settings, state, support, generator, second_order=True)
            loss = batch_loss(learner, state, query, generator, fast)
            grads = grads_of(loss, state)
        elif settings.algo == "fomaml":
            fast = adapted(learner, settings, state, support, generator)
            loss = batch_loss(learner, state, query, generator, fast)
            grads = grads_of(loss, state, fast)
        else:
            fast = adapted(learner, settings, state, support, generator)
            loss, grads = _reptile_gradient(learner, settings, state, fast, query, generator)
        loss_sum += float(loss.detach())
        for name, grad in grads.items():
            share = grad / settings.batch_size
            total[name] = total[name] + share if name in total else share
    rays_seen = settings.batch_size * (settings.support_rays * settings.inner_iter + settings.query_rays)
    return total, StepResult(loss_sum / settings.batch_size, rays_seen)


def adapted(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    support: RayBatch,
    generator: torch.Generator,
    second_order: bool = False,
) -> FieldParams:
    """Fast weights after `inner_iter` SGD steps on the support rays: `phi <- phi - inner_lr grad L(phi)`."""
    fast = state.params if second_order else state.params.detached()
    for _ in range(settings.inner_iter):
        loss = batch_loss(learner, state, support, generator, fast, update_density=False)
        grads = torch.autograd.grad(loss, fast.tensors(), create_graph=second_order)
        stepped = [p - settings.inner_lr * g for p, g in zip(fast.tensors(), grads, strict=True)]
        fast = FieldParams(*stepped) if second_order else FieldParams(*stepped).detached()
    return fast


def _reptile_gradient(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    fast: FieldParams,
    query: RayBatch,
    generator: torch.Generator,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """`(theta - phi) / (inner_lr inner_iter)` as the gradient that the outer optimiser sees.

    The query loss is only reported; the background head learns from it, since phi leaves it alone.
    """
    loss = batch_loss(learner, state, query, generator, fast)
    grads: dict[str, Tensor] = {}
    if state.background is not None:
        (background_grad,) = torch.autograd.grad(loss, [state.background])
        grads["background"] = background_grad
    scale = 1.0 / (settings.inner_lr * settings.inner_iter)
    for (name, slow), (_, quick) in zip(state.params.items(), fast.items(), strict=True):
        grads[name] = (slow.detach() - quick.detach()) * scale
    return loss, grads

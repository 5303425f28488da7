"""Outer steps: plain training, FOMAML, MAML and Reptile.

Finn et al. 2017 (MAML and its first-order variant), Nichol et al. 2018 (Reptile). A task is a ground cell of
the expert's region; its support and query rays come from different photographs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from anerf.errors import BackendError
from anerf.learn.fast_weights import FastWeights
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
    state.apply(grads, rates, learner.optimizer, fisher)
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
        with FastWeights(state.params, state.scratch, second_order=settings.algo == "maml") as fast:
            inner_steps(learner, settings, state, fast, support, generator)
            loss, grads = _task_gradient(learner, settings, state, fast, query, generator)
        loss_sum += loss
        for name, grad in grads.items():
            total[name] = total[name] + grad if name in total else grad
    rays_seen = settings.batch_size * (settings.support_rays * settings.inner_iter + settings.query_rays)
    return total, StepResult(loss_sum / settings.batch_size, rays_seen)


def inner_steps(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    fast: FastWeights,
    support: RayBatch,
    generator: torch.Generator,
) -> None:
    """`inner_iter` SGD steps of the fast weights on a task's support rays."""
    for _ in range(settings.inner_iter):
        loss = batch_loss(learner, state, support, generator, fast.params, update_density=False)
        fast.step(loss, settings.inner_lr)


def _task_gradient(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    fast: FastWeights,
    query: RayBatch,
    generator: torch.Generator,
) -> tuple[float, dict[str, Tensor]]:
    """A task's query loss, and its share (one of `batch_size`) of the step's gradient.

    FOMAML takes the query loss' gradient at the fast weights, MAML through the inner steps. Reptile takes
    `(theta - phi) / (inner_lr inner_iter)`; its query loss is only reported, but the background head learns
    from it, since phi leaves it alone.
    """
    share = 1.0 / settings.batch_size
    if settings.algo == "reptile":
        loss = batch_loss(learner, state, query, generator, fast.params)
        grads = {}
        if state.background is not None:
            (background,) = torch.autograd.grad(loss * share, [state.background])
            grads["background"] = background
        grads |= fast.way_back(share / (settings.inner_lr * settings.inner_iter))
    else:
        params = fast.for_query()
        loss = batch_loss(learner, state, query, generator, params)
        grads = grads_of(loss * share, state, None if settings.algo == "maml" else params)
    return float(loss.detach()), grads

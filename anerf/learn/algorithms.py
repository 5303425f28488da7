"""Outer steps: plain training, FOMAML, MAML and Reptile.

Finn et al. 2017 (MAML and its first-order variant), Nichol et al. 2018 (Reptile), Li et al. 2017 (Meta-SGD:
inner rates that are learned). A task is a ground cell of the expert's region; its support and query rays come
from different photographs, and may both wear the look of another day.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from anerf.errors import BackendError
from anerf.learn.fast_weights import FastWeights, InnerRule
from anerf.learn.looks import Look, drawn_look
from anerf.learn.objective import Learner, batch_loss, grads_of
from anerf.learn.optimiser import FisherDamping, Rates
from anerf.learn.rays import RayBatch, RaySource
from anerf.learn.state import ExpertState
from anerf.learn.tasks import TaskCells


@dataclass(frozen=True)
class OuterSettings:
    """How an outer step is made; ray counts are per expert (plain) or per task (the others).

    Steps of the others also learn `anchor_rays` as plain steps do, so that a start that adapts well stays
    good before it adapts. `task_shift` is how far from the survey tasks look, 0 for not at all.
    """

    algo: str
    rays_per_step: int
    batch_size: int
    support_rays: int
    query_rays: int
    inner_iter: int
    inner: InnerRule
    task_shift: float = 0.0
    anchor_rays: int = 0


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
        grads, result = _plain_gradient(learner, state, rays, settings.rays_per_step, generator)
    else:
        grads, result = _meta_gradient(learner, settings, state, rays, cells, generator)
        if settings.anchor_rays:
            anchor, anchored = _plain_gradient(learner, state, rays, settings.anchor_rays, generator)
            _add(grads, anchor)
            result = StepResult(result.loss, result.n_rays + anchored.n_rays)
    state.apply(grads, rates, learner.optimizer, fisher)
    state.step += 1
    return result


def _plain_gradient(
    learner: Learner, state: ExpertState, rays: RaySource, n: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], StepResult]:
    batch = rays.draw(n, generator).to(state.params.grid.device)
    loss = batch_loss(learner, state, batch, generator)
    return grads_of(loss, state), StepResult(float(loss.detach()), n)


def _add(total: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, grad in more.items():
        total[name] = total[name] + grad if name in total else grad


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
    total: dict[str, Tensor] = {}
    loss_sum = 0.0
    for _ in range(settings.batch_size):
        task = cells.draw(generator)
        look = None
        if settings.task_shift:
            xy = rays.surface_xy[torch.cat([task.support, task.query])]
            look = drawn_look(xy, settings.task_shift, generator)
        support = _task_rays(rays, settings.support_rays, task.support, look, state, generator)
        query = _task_rays(rays, settings.query_rays, task.query, look, state, generator)
        with FastWeights(
            state.params,
            settings.inner,
            state.scratch,
            state.table_moments,
            state.inner_rates,
            second_order=settings.algo == "maml",
        ) as fast:
            inner_steps(learner, settings, state, fast, support, generator)
            loss, grads = _task_gradient(learner, settings, state, fast, query, generator)
        loss_sum += loss
        _add(total, grads)
    rays_seen = settings.batch_size * (settings.support_rays * settings.inner_iter + settings.query_rays)
    return total, StepResult(loss_sum / settings.batch_size, rays_seen)


def _task_rays(
    rays: RaySource,
    n: int,
    tiles: Int[Tensor, " t"],
    look: Look | None,
    state: ExpertState,
    generator: torch.Generator,
) -> RayBatch:
    batch = rays.draw(n, generator, tiles)
    if look is not None:
        batch = look.worn_by(batch, rays.surface_xy[batch.tile])
    return batch.to(state.params.grid.device)


def inner_steps(
    learner: Learner,
    settings: OuterSettings,
    state: ExpertState,
    fast: FastWeights,
    support: RayBatch,
    generator: torch.Generator,
) -> None:
    """`inner_iter` steps of the fast weights on a task's support rays."""
    for _ in range(settings.inner_iter):
        loss = batch_loss(learner, state, support, generator, fast.params, update_density=False)
        fast.step(loss)


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
    `(theta - phi) / (rate inner_iter)`; what its inner steps leave alone learns from the query loss, the
    background head always.
    """
    share = 1.0 / settings.batch_size
    own_look = settings.task_shift == 0
    if settings.algo == "reptile":
        params = fast.params if settings.inner.fast == "all" else fast.for_query()
        loss = batch_loss(learner, state, query, generator, params, learn_exposures=own_look)
        grads = grads_of(loss * share, state, params)
        left_alone = {name: grad for name, grad in grads.items() if name not in settings.inner.names}
        return float(loss.detach()), left_alone | fast.way_back(share / settings.inner_iter)
    table_before = fast.table_gradient()
    params = fast.for_query()
    loss = batch_loss(learner, state, query, generator, params, learn_exposures=own_look)
    if settings.algo == "maml":
        return float(loss.detach()), grads_of(loss * share, state)
    grads = grads_of(loss * share, state, params)
    if state.inner_rates is not None:
        grads["inner_rates"] = fast.rate_gradient(grads, table_before)
    return float(loss.detach()), grads

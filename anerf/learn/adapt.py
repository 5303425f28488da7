"""Taking up a new flight: some steps on its rays, mixed with old ones so that nothing is forgotten."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.learn.early_stop import CHECK_STEPS, EarlyStop, watched_tiles
from anerf.learn.expert import StretchReport
from anerf.learn.exposure import common_exposure
from anerf.learn.ground import GroundCells, drawn_shares, stale_ground
from anerf.learn.objective import Learner, batch_loss, grads_of
from anerf.learn.optimiser import Moments, Rates
from anerf.learn.rays import RayBatch, RaySource, step_generator
from anerf.learn.state import ExpertState
from anerf.render.background import background_color
from anerf.render.expert import draw_samples, render_samples
from anerf.render.exposure import exposed_rays
from anerf.render.guide import Guide

log = logging.getLogger(__name__)

PROBE_RAYS = 16384
PROBE_CHUNK = 4096
WATCHED_RAYS = 4096


@dataclass(frozen=True)
class AdaptSettings:
    """`support_rays` a step, of which the share `replay` is drawn from old pictures.

    Of the new ones, the share `explore` is drawn evenly, the others in proportion to the old model's error.
    With `early_stop` some photographs are only watched, and learning ends when these get no better.
    """

    support_rays: int
    replay: float
    explore: float = 0.5
    early_stop: bool = False


@torch.no_grad()
def ray_colors(
    learner: Learner, state: ExpertState, batch: RayBatch, generator: torch.Generator
) -> Float[Tensor, "r 3"]:
    """Each ray's colour under the state's parameters, in the scene's look."""
    expert = state.model()
    colors = []
    for start in range(0, len(batch.rays_o), PROBE_CHUNK):
        part = slice(start, start + PROBE_CHUNK)
        rays_d = batch.rays_d[part]
        guide = Guide.of_expert(expert.box, expert.grid)
        samples = draw_samples(
            guide, learner.setting, batch.rays_o[part], rays_d, learner.sampling, generator
        )
        behind = background_color(learner.setting.backend, learner.spec, state.background, rays_d)
        seen, _ = render_samples(expert, learner.setting, samples, rays_d, batch.code[part], behind)
        colors.append(seen.rgb)
    return torch.cat(colors)


def ray_errors(batch: RayBatch, rgb: Float[Tensor, "r 3"]) -> Float[Tensor, " r"]:
    """Squared error of each ray's colour under the map that all rays have in common, 0 where masked.

    Another season or exposure makes every ray wrong: what is left is where something has changed.
    """
    common = common_exposure(rgb, batch.rgb, batch.weight)
    return ((exposed_rays(rgb, common) - batch.rgb) ** 2).mean(1) * batch.weight


class Adapter:
    """Adapts one expert's state in place; `step` counts from the checkpoint that it started from."""

    def __init__(
        self,
        number: int,
        seed: int,
        learner: Learner,
        settings: AdaptSettings,
        rates: Rates,
        state: ExpertState,
        new_rays: RaySource,
        old_rays: RaySource | None,
    ) -> None:
        self.number = number
        self.seed = seed
        self.learner = learner
        self.settings = settings
        self.rates = rates
        self.state = state
        self.new_rays = new_rays
        self.old_rays = old_rays
        # The momentum of the old pictures must not carry the new ones.
        state.moments = {
            name: Moments(torch.zeros_like(m.first), torch.zeros_like(m.second))
            for name, m in state.moments.items()
        }
        state.step = 0
        if state.exposures is not None:
            state.relearn_exposures(new_rays.flight_of_photograph)
        device = state.params.grid.device
        generator = step_generator(seed, number, 0, "probe")
        watched = watched_tiles(new_rays.frame) & settings.early_stop
        if settings.early_stop and not watched.any():
            log.info(
                "expert %d sees too few photographs to watch one of them: it does not stop early", number
            )
        self._loss = math.nan
        self._early_stop = EarlyStop() if watched.any() else None
        self._watched = (
            new_rays.draw(WATCHED_RAYS, generator, _where(watched)).to(device) if watched.any() else None
        )
        self._learned = _where(~watched)
        probe = new_rays.draw(PROBE_RAYS, generator, self._learned).to(device)
        rgb = ray_colors(learner, state, probe, generator)
        if state.evidence is not None:
            state.evidence.observe(rgb, probe.rgb, probe.weight, probe.image)
        xy, errors = new_rays.surface_xy[probe.tile.cpu()].float(), ray_errors(probe, rgb).cpu()
        cells = GroundCells.over(xy)
        shares = drawn_shares(cells, xy, errors, new_rays.surface_xy[self._learned].float())
        self._cumulative_shares = shares.double().cumsum(0)
        self.replayed = None
        if old_rays is not None:
            stale = stale_ground(cells, xy, errors)
            cell, inside = cells.index(old_rays.surface_xy.float())
            self.replayed = _where(~(stale[cell] & inside))
        if learner.setting.on_kernels:
            state.track_touched()

    @property
    def step(self) -> int:
        """Adaptation steps (`tto`) done so far."""
        return self.state.step

    def advance(self, to_step: int) -> StretchReport:
        """Adapt on to `to_step` steps."""
        started = time.perf_counter()
        n_rays = 0
        stop = self._early_stop
        while self.step < to_step:
            if stop is not None and stop.stopped:
                self.state.step = to_step
                break
            generator = step_generator(self.seed, self.number, self.step, "adapt")
            batch = self._batch(generator).to(self.state.params.grid.device)
            loss = batch_loss(self.learner, self.state, batch, generator)
            grads = grads_of(loss, self.state)
            grads.pop("background", None)  # shared by experts that the flight may not touch
            self.state.apply(grads, self.rates, self.learner.optimizer)
            self.state.step += 1
            self._loss = float(loss.detach())
            n_rays += len(batch.rays_o)
            if stop is not None and self.step % CHECK_STEPS == 0:
                stop.look(self._watched_error(), self.state.params)
        seconds = time.perf_counter() - started
        return StretchReport(self.step, self._loss, n_rays, seconds, stop is not None and stop.stopped)

    def _watched_error(self) -> float:
        assert self._watched is not None
        generator = step_generator(self.seed, self.number, 0, "watch")
        rgb = ray_colors(self.learner, self.state, self._watched, generator)
        return float(ray_errors(self._watched, rgb).mean())

    def _batch(self, generator: torch.Generator) -> RayBatch:
        n_old = 0
        if self.old_rays is not None and self.replayed is not None and len(self.replayed):
            n_old = round(self.settings.support_rays * self.settings.replay)
        n_new = self.settings.support_rays - n_old
        evenly = round(n_new * self.settings.explore)
        place = torch.rand(n_new - evenly, generator=generator, dtype=torch.float64)
        drawn = torch.searchsorted(self._cumulative_shares, place).clamp(max=len(self._learned) - 1)
        new = RayBatch.joined(
            [
                self.new_rays.draw(evenly, generator, self._learned),
                self.new_rays.through(self._learned[drawn], generator),
            ]
        )
        if n_old == 0 or self.old_rays is None:
            return new
        return RayBatch.joined([new, self.old_rays.draw(n_old, generator, self.replayed)])


def _where(chosen: Bool[Tensor, " t"]) -> Int[Tensor, " c"]:
    return chosen.nonzero()[:, 0]

"""Taking up a new flight: a few steps on its rays, mixed with replayed old rays so that nothing is forgotten.

Old rays are not replayed where the new pictures contradict the old model: there the old pictures are stale.
"""

import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.learn.expert import StretchReport
from anerf.learn.exposure import common_exposure
from anerf.learn.objective import Learner, batch_loss, grads_of
from anerf.learn.optimiser import Moments, Rates
from anerf.learn.rays import RayBatch, RaySource, step_generator
from anerf.learn.state import ExpertState
from anerf.render.background import background_color
from anerf.render.expert import draw_samples, render_samples
from anerf.render.exposure import exposed_rays
from anerf.render.guide import Guide

STALE_CELL_M = 4.0
STALE_RATIO = 8.0
PROBE_RAYS = 16384
PROBE_CHUNK = 4096
MIN_PROBES = 6


@dataclass(frozen=True)
class AdaptSettings:
    """`support_rays` a step, of which the share `replay` is drawn from old pictures."""

    support_rays: int
    replay: float


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


@dataclass(frozen=True)
class GroundCells:
    """Square cells over the ground (ENU metres): `lo` is the low corner, `shape` (ny, nx)."""

    lo: Float[Tensor, " 2"]
    shape: tuple[int, int]

    @staticmethod
    def over(xy: Float[Tensor, "n 2"]) -> "GroundCells":
        """Cells of `STALE_CELL_M` that hold all positions."""
        n = ((xy.amax(0) - xy.amin(0)) / STALE_CELL_M).long() + 1
        return GroundCells(xy.amin(0), (int(n[1]), int(n[0])))

    def index(self, xy: Float[Tensor, "n 2"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Flat cell of each position and whether it lies inside."""
        cell = ((xy - self.lo) / STALE_CELL_M).floor().long()
        ny, nx = self.shape
        inside = (cell >= 0).all(1) & (cell[:, 0] < nx) & (cell[:, 1] < ny)
        return (cell[:, 1] * nx + cell[:, 0]).clamp(0, ny * nx - 1), inside


def stale_ground(
    cells: GroundCells, xy: Float[Tensor, "n 2"], errors: Float[Tensor, " n"]
) -> Bool[Tensor, " cells"]:
    """Cells where the mean error of new rays exceeds `STALE_RATIO` x the median cell's, and neighbours."""
    number, _ = cells.index(xy)
    size = cells.shape[0] * cells.shape[1]
    count = torch.zeros(size).index_add_(0, number, torch.ones_like(errors))
    mean = torch.zeros(size).index_add_(0, number, errors) / count.clamp(min=1)
    known = count >= MIN_PROBES
    if not known.any():
        return torch.zeros(size, dtype=torch.bool)
    stale = known & (mean > STALE_RATIO * mean[known].median())
    grown = torch.nn.functional.max_pool2d(stale.view(1, 1, *cells.shape).float(), 3, stride=1, padding=1)
    return grown.view(-1) > 0


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
        generator = step_generator(seed, number, 0, "probe")
        probe = new_rays.draw(PROBE_RAYS, generator).to(state.params.grid.device)
        rgb = ray_colors(learner, state, probe, generator)
        if state.evidence is not None:
            state.evidence.observe(rgb, probe.rgb, probe.weight, probe.image)
        self.replayed = None if old_rays is None else self._tiles_to_replay(old_rays, probe, rgb)
        if learner.setting.on_kernels:
            state.track_touched()

    def _tiles_to_replay(
        self, old_rays: RaySource, probe: RayBatch, rgb: Float[Tensor, "r 3"]
    ) -> Int[Tensor, " t"]:
        xy = self.new_rays.surface_xy[probe.tile.cpu()].float()
        cells = GroundCells.over(xy)
        stale = stale_ground(cells, xy, ray_errors(probe, rgb).cpu())
        number, inside = cells.index(old_rays.surface_xy.float())
        return (~(stale[number] & inside)).nonzero()[:, 0]

    @property
    def step(self) -> int:
        """Adaptation steps (`tto`) done so far."""
        return self.state.step

    def advance(self, to_step: int) -> StretchReport:
        """Adapt on to `to_step` steps."""
        started = time.perf_counter()
        loss_value = math.nan
        n_rays = 0
        while self.step < to_step:
            generator = step_generator(self.seed, self.number, self.step, "adapt")
            batch = self._batch(generator).to(self.state.params.grid.device)
            loss = batch_loss(self.learner, self.state, batch, generator)
            grads = grads_of(loss, self.state)
            grads.pop("background", None)  # shared by experts that the flight may not touch
            self.state.apply(grads, self.rates, self.learner.optimizer)
            self.state.step += 1
            loss_value = float(loss.detach())
            n_rays += len(batch.rays_o)
        seconds = time.perf_counter() - started
        return StretchReport(self.step, loss_value, n_rays, seconds)

    def _batch(self, generator: torch.Generator) -> RayBatch:
        n_old = 0
        if self.old_rays is not None and self.replayed is not None and len(self.replayed):
            n_old = round(self.settings.support_rays * self.settings.replay)
        new = self.new_rays.draw(self.settings.support_rays - n_old, generator)
        if n_old == 0 or self.old_rays is None:
            return new
        return RayBatch.joined([new, self.old_rays.draw(n_old, generator, self.replayed)])

"""One expert that learns: state, rays and steps together. Actors are thin shells around this."""

import math
import time
from dataclasses import dataclass

from anerf.learn.algorithms import OuterSettings, StepResult, outer_step
from anerf.learn.objective import Learner
from anerf.learn.optimiser import FisherDamping, Moments, Rates
from anerf.learn.rays import RaySource, step_generator
from anerf.learn.state import ExpertState
from anerf.learn.tasks import TaskCells


@dataclass(frozen=True)
class StretchReport:
    """What a stretch of steps did: the step reached, its loss, rays evaluated and seconds of computing.

    The loss is that of the last step, not a mean: it does not depend on where stretches begin. `stopped` says
    that further steps would change nothing.
    """

    step: int
    loss: float
    n_rays: int
    seconds: float
    stopped: bool = False


class Expert:
    """Trains one region. The same seed, expert number and step always draw the same random numbers."""

    def __init__(
        self,
        number: int,
        seed: int,
        learner: Learner,
        settings: OuterSettings,
        rates: Rates,
        state: ExpertState,
        rays: RaySource,
        cell_dim: int,
        fisher: FisherDamping | None = None,
    ) -> None:
        self.number = number
        self.seed = seed
        self.learner = learner
        self.settings = settings
        self.rates = rates
        self.state = state
        self.rays = rays
        self.fisher = fisher
        self.cells = TaskCells(rays, cell_dim)
        if learner.setting.on_kernels and fisher is None:  # the Fisher estimate needs every value's gradient
            state.track_touched()
        inner = settings.inner
        if settings.algo != "plain" and inner.optimizer == "adam" and "grid" in inner.names:
            state.table_moments = Moments.zeros_like(state.params.grid.detach())

    @property
    def step(self) -> int:
        """Outer steps done so far, over all jobs that trained it."""
        return self.state.step

    def advance(self, to_step: int) -> StretchReport:
        """Train on to `to_step`, which may be where it already stands."""
        started = time.perf_counter()
        results: list[StepResult] = []
        while self.state.step < to_step:
            generator = step_generator(self.seed, self.number, self.state.step, "train")
            results.append(
                outer_step(
                    self.learner,
                    self.settings,
                    self.state,
                    self.rays,
                    self.cells,
                    self.rates,
                    generator,
                    self.fisher,
                )
            )
        loss = results[-1].loss if results else math.nan
        return StretchReport(
            self.state.step, loss, sum(r.n_rays for r in results), time.perf_counter() - started
        )

"""How a running job goes, in figures: where it stands now, and the curves that led there. Knows no Ray."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # it brings torch, and those who only ask need none
    from anerf.learn.expert import StretchReport

MOST_POINTS = 500
MOST_EXPERTS = 64

State = Literal["starting", "learning", "measuring", "saving", "paused", "ending"]


@dataclass(frozen=True)
class ExpertFigures:
    """Of one expert's last round: the step reached, the mean squared error of its last step's rays, speed."""

    step: int
    loss: float
    rays_per_s: float


@dataclass(frozen=True)
class Measured:
    """Mean PSNR (dB, sRGB) at a step of the views of a role: `old` of the survey, `new` of the flight."""

    step: int
    role: str
    psnr_db: float


@dataclass(frozen=True)
class LiveFigures:
    """Where a job stands. `step` of an adaptation counts its own steps, as `tto` does.

    `curve_steps` and the curves have the same length, at most `MOST_POINTS`, from the job's start (of this
    run of it) to its last round. `loss_curve` is the mean over the experts; `loss_curves` is each one's (NaN
    where it was not there), and empty where there are more than `MOST_EXPERTS`.
    """

    job_id: str
    op: str
    state: State
    step: int = 0
    of_steps: int = 0
    loss: float = math.nan
    rays_per_s: float = 0.0
    eta_s: float = math.nan
    experts: Mapping[int, ExpertFigures] = field(default_factory=dict)
    measured: tuple[Measured, ...] = ()
    curve_steps: tuple[int, ...] = ()
    loss_curve: tuple[float, ...] = ()
    loss_curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Round:
    step: int
    of_steps: int
    eta_s: float
    experts: Mapping[int, ExpertFigures]

    @property
    def loss(self) -> float:
        return sum(e.loss for e in self.experts.values()) / len(self.experts)


class FigureLog:
    """Takes in a job's rounds and gives its figures. Safe for threads."""

    def __init__(self, job_id: str, op: str) -> None:
        self._job_id, self._op = job_id, op
        self._lock = threading.Lock()
        self._state: State = "starting"
        self._clear()

    def _clear(self) -> None:
        self._rounds: list[_Round] = []
        self._last: _Round | None = None
        self._seen = 0
        self._every = 1
        self._measured: list[Measured] = []

    def enter(self, state: State) -> None:
        """What the job does from now on."""
        self._state = state

    def add_round(
        self,
        step: int,
        of_steps: int,
        reports: Mapping[int, "StretchReport"],
        seconds: float,
        eta_s: float,
    ) -> None:
        """A round of so many seconds that ended at `step`."""
        experts = {e: ExpertFigures(r.step, r.loss, r.n_rays / seconds) for e, r in reports.items()}
        with self._lock:
            self._last = _Round(step, of_steps, eta_s, experts)
            if self._seen % self._every == 0:
                self._rounds.append(self._last)
            self._seen += 1
            if len(self._rounds) >= MOST_POINTS:
                # Every second one goes, so that the whole curve stays, evenly spaced.
                self._rounds, self._every = self._rounds[::2], 2 * self._every

    def add_measured(self, step: int, psnr_db: Mapping[str, float]) -> None:
        """Views were measured, by role."""
        with self._lock:
            self._measured = [m for m in self._measured if m.step != step]
            self._measured += [Measured(step, role, value) for role, value in sorted(psnr_db.items())]
            self._measured = self._measured[-MOST_POINTS:]

    def start_over(self) -> None:
        """The job is back at its start: only what was measured there stays."""
        with self._lock:
            at_start = [m for m in self._measured if m.step == 0]
            self._clear()
            self._measured = at_start

    def figures(self) -> LiveFigures:
        """Where the job stands now."""
        with self._lock:
            last, rounds, measured = self._last, list(self._rounds), tuple(self._measured)
        if last is None:
            return LiveFigures(self._job_id, self._op, self._state, measured=measured)
        if rounds[-1] is not last:
            rounds.append(last)
        ids = sorted({expert for r in rounds for expert in r.experts})
        curves = {} if len(ids) > MOST_EXPERTS else {expert: _curve(rounds, expert) for expert in ids}
        return LiveFigures(
            self._job_id,
            self._op,
            self._state,
            last.step,
            last.of_steps,
            last.loss,
            sum(e.rays_per_s for e in last.experts.values()),
            last.eta_s,
            last.experts,
            measured,
            tuple(r.step for r in rounds),
            tuple(r.loss for r in rounds),
            curves,
        )


def _curve(rounds: list[_Round], expert: int) -> tuple[float, ...]:
    return tuple(r.experts[expert].loss if expert in r.experts else math.nan for r in rounds)

"""What the viewer asks of running jobs and hears from them; how they are reached is not its business."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from anerf.render.scene_model import SceneModel

Command = Literal["pause", "resume", "step", "stop", "reset", "save"]
_OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "REJECTED")


@dataclass(frozen=True)
class Rates:
    """Learning rates by parameter group; None leaves one as it is."""

    encoding_lr: float | None = None
    sigma_lr: float | None = None
    color_lr: float | None = None


@dataclass(frozen=True)
class Adaptation:
    """An adaptation as a person asks for it, from a checkpoint's folder to a flight of its scene's folder."""

    checkpoint_uri: str
    scene: str
    batch: str
    steps: int
    rates: Rates
    downscale: float


@dataclass(frozen=True)
class Film:
    """A video as a person asks for it: of a checkpoint's folder, along a saved path."""

    checkpoint_uri: str
    path_file: str
    fps: int
    size_px: tuple[int, int]
    samples: int
    flight: str | None


@dataclass(frozen=True)
class JobNews:
    """Where a job stands. Curves are as long as `curve_steps`; `measured` are (step, role, PSNR in dB).

    `state` is the job's (`QUEUED`, `SUCCEEDED`, ...) or, while it runs, what it does: `learning`, `paused`,
    `measuring` and so on.
    """

    job_id: str
    op: str
    state: str
    message: str = ""
    step: int = 0
    of_steps: int = 0
    loss: float = math.nan
    rays_per_s: float = 0.0
    eta_s: float = math.nan
    curve_steps: tuple[int, ...] = ()
    loss_curves: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    loss_curve: tuple[float, ...] = ()
    measured: tuple[tuple[int, str, float], ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in _OVER


@dataclass(frozen=True, eq=False)
class LiveScene:
    """A running job's scene at one step; no other has its mark."""

    mark: str
    step: int
    model: SceneModel


class LiveJobs(Protocol):
    """Running jobs, and jobs that can be started. Methods raise `AnerfError` with a sentence for people."""

    def running(self) -> Sequence[str]:
        """Ids of the trainings and adaptations that run now."""
        ...

    def start(self, wish: Adaptation) -> str:
        """Start an adaptation; its job's id."""
        ...

    def film(self, wish: Film) -> str:
        """Start a video; its job's id."""
        ...

    def news(self, job_id: str) -> JobNews:
        """Where a job stands, ended ones included."""
        ...

    def scene(self, job_id: str, known: str | None) -> LiveScene | None:
        """Its newest scene, unless that is `known` by its mark; None where there is nothing new."""
        ...

    def steer(self, job_id: str, command: Command, steps: int = 1) -> None:
        """Ask something of it; `steps` are those of `step`."""
        ...

    def change(self, job_id: str, rates: Rates) -> None:
        """Other learning rates from its next step on."""
        ...

    def cancel(self, job_id: str) -> None:
        """End it without result."""
        ...

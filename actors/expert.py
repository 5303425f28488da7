"""`ExpertActor`: one expert's parameters, rays and device share, in a process of its own."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import ray
import torch

from anerf import logs
from anerf.checkpoint.manifest import ShardRecord
from anerf.checkpoint.resolve import expert_file
from anerf.checkpoint.shards import write_shard
from anerf.errors import AnerfError
from anerf.field.threads import use_threads
from anerf.jobs.learning import Learning, build_learning, learning_device
from anerf.learn.expert import StretchReport
from anerf.render.exposure import Exposures

log = logging.getLogger(__name__)


class StepMismatch(AnerfError):
    """The expert stands at another step than its caller expects: it was restarted in between."""

    retryable = True


@ray.remote(max_restarts=-1, max_task_retries=0)
class ExpertActor:
    """Restores itself from the job's last checkpoint whenever its process starts anew.

    The constructor is cheap and cannot fail; the first call loads, so that an unusable scene or checkpoint
    reaches the caller as the error that it is. Every call that reads or changes what was learned names the
    step at which its caller believes the expert to stand, and raises `StepMismatch` if a restart put it back.
    """

    def __init__(self, job_dir: str, expert: int, threads: int) -> None:
        logs.of_job(Path(job_dir), expert)
        use_threads(threads)
        self._job_dir = job_dir
        self._number = expert
        self._loaded: Learning | None = None

    def _learning(self) -> Learning:
        if self._loaded is None:
            self._loaded = build_learning(self._job_dir, self._number)
            log.info("expert %d ready at step %d on %s", self._number, self._loaded.step, learning_device())
        return self._loaded

    def _at(self, step: int) -> Learning:
        learning = self._learning()
        if learning.step != step:
            raise StepMismatch(
                f"expert {self._number} stands at step {learning.step}, not {step}:"
                " ask `ready` and go on from there"
            )
        return learning

    def ready(self) -> int:
        """Load what is needed; the step at which the expert stands."""
        return self._learning().step

    def pid(self) -> int:
        """The actor's process."""
        return os.getpid()

    def advance(self, from_step: int, to_step: int) -> StretchReport:
        """Do the steps between; `from_step` must be where the expert stands.

        Raises:
            StepMismatch: it stands elsewhere.
        """
        return self._at(from_step).advance(to_step)

    def plan(self, at_step: int, of_steps: int) -> None:
        """Let learning rates fall until `of_steps`."""
        learning = self._at(at_step)
        learning.rates = replace(learning.rates, outer_steps=max(of_steps, at_step + 1))

    def background(self, at_step: int) -> np.ndarray | None:
        """The expert's copy of the shared background."""
        background = self._at(at_step).state.background
        return None if background is None else background.detach().cpu().numpy()

    def set_background(self, at_step: int, shared: np.ndarray) -> None:
        """Take the experts' mean."""
        self._at(at_step).state.set_background(torch.from_numpy(shared.copy()))

    def exposure_evidence(self, at_step: int) -> tuple[np.ndarray, np.ndarray] | None:
        """What the expert's rays say of the photographs' exposures, where these are learned."""
        evidence = self._at(at_step).state.evidence
        return None if evidence is None else (evidence.xx.numpy(), evidence.xy.numpy())

    def exposures(self, at_step: int) -> dict[str, np.ndarray]:
        """The photographs' exposures as the expert knows them; empty where there are none."""
        exposures = self._at(at_step).state.exposures
        return {} if exposures is None else exposures.named()

    def set_exposures(self, at_step: int, named: dict[str, np.ndarray]) -> None:
        """Take the exposures that all experts' evidence gave."""
        state, exposures = self._at(at_step).state, Exposures.of_named(named)
        state.exposures = None if exposures is None else exposures.to(state.params.grid.device)

    def snapshot(self, at_step: int) -> dict[str, np.ndarray]:
        """What pictures need, as arrays that the object store shares without copying."""
        return {name: t.cpu().numpy() for name, t in self._at(at_step).state.render_tensors().items()}

    def save(self, at_step: int, step_uri: str) -> ShardRecord:
        """Write this expert's shard of the checkpoint in `step_uri`."""
        state = self._at(at_step).state
        meta = {"expert": str(self._number), "step": str(state.step)}
        return write_shard(expert_file(step_uri, self._number), state.tensors(), meta)

"""Experts that train for a set time instead of computing: they show what everything around them costs."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from actors.each import Allegiance, StepMismatch, answer_each
from actors.fan_out import Group
from anerf.checkpoint.manifest import ShardRecord
from anerf.checkpoint.resolve import expert_file
from anerf.checkpoint.shards import write_shard
from anerf.learn.expert import StretchReport
from anerf.render.exposure import Exposures

BACKGROUND = 2048
"""Parameters of the shared background, as many as a real one has with 32 hidden units, about."""
PHOTOGRAPHS = 64
"""With learned exposures."""


@ray.remote(max_restarts=-1, max_task_retries=0)
class SimulatedExperts:
    """What the pool asks of an `ExpertActor`, for experts whose step is to sleep for `step_s`."""

    def __init__(self, experts: Sequence[int], step_s: float) -> None:
        self._step_s = step_s
        self._step = dict.fromkeys(experts, 0)
        self._background = np.zeros(BACKGROUND, np.float32)
        self._exposures = Exposures.identity(torch.zeros(PHOTOGRAPHS, dtype=torch.int64)).named()
        self._threads = ThreadPoolExecutor(len(self._step))
        self._allegiance = Allegiance()

    def each(self, method: str, args_of: Mapping[int, tuple[Any, ...]], term: int = 0) -> dict[int, Any]:
        """As `ExpertActor.each`."""
        self._allegiance.follow(term)
        return answer_each(self, self._threads, method, args_of)

    def ready(self, expert: int) -> int:
        """Where the expert stands."""
        return self._step[expert]

    def node(self, _expert: int) -> str:
        """The machine on which the expert lives."""
        return ray.get_runtime_context().get_node_id()

    def advance(self, expert: int, from_step: int, to_step: int) -> StretchReport:
        """Sleep for as long as the steps take."""
        self._check(expert, from_step)
        n_steps = to_step - from_step
        time.sleep(self._step_s * n_steps)
        self._step[expert] = to_step
        return StretchReport(to_step, 0.01, 2048 * n_steps, self._step_s * n_steps)

    def background(self, expert: int, at_step: int) -> np.ndarray:
        """A background of the usual size."""
        self._check(expert, at_step)
        return self._background

    def set_background(self, expert: int, at_step: int, shared: np.ndarray) -> None:
        """Take the mean."""
        self._check(expert, at_step)
        self._background = shared

    def exposure_evidence(self, expert: int, at_step: int) -> tuple[np.ndarray, ...]:
        """Evidence of the usual shape, for each of the photographs."""
        self._check(expert, at_step)
        xx = np.tile(np.eye(4, dtype=np.float32) * 1000, (PHOTOGRAPHS, 1, 1))
        return np.arange(PHOTOGRAPHS), xx, np.ascontiguousarray(xx[:, :, :3])

    def exposures(self, expert: int, at_step: int) -> dict[str, np.ndarray]:
        """What was set last."""
        self._check(expert, at_step)
        return self._exposures

    def set_exposures(self, expert: int, at_step: int, named: dict[str, np.ndarray]) -> None:
        """Take what all found together."""
        self._check(expert, at_step)
        self._exposures = named

    def save(self, expert: int, at_step: int, step_uri: str) -> ShardRecord:
        """A small real shard."""
        self._check(expert, at_step)
        tensors = {"grid": torch.zeros(256)}
        return write_shard(expert_file(step_uri, expert), tensors, {"expert": str(expert)})

    def _check(self, expert: int, step: int) -> None:
        if self._step[expert] != step:
            raise StepMismatch(f"simulated expert {expert} stands at step {self._step[expert]}, not {step}")


class SimulatedStart:
    """Starts simulated experts for a pool."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s

    def __call__(self, options: Mapping[str, Any], _job_dir: str, group: Group, _threads: int) -> Any:
        """A process for a group of experts."""
        actor: Any = SimulatedExperts
        return actor.options(**options).remote(group, self._step_s)


def simulated_folder(root: Path) -> Path:
    """A folder for a simulated job's checkpoints and events."""
    (root / "checkpoints").mkdir(parents=True)
    return root

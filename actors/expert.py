"""`ExpertActor`: the parameters and rays of one or more experts and their device share, in one process."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from actors.each import Allegiance, StepMismatch, answer_each
from actors.named import end_when_alone
from anerf import logs
from anerf.checkpoint.manifest import ShardRecord
from anerf.checkpoint.resolve import expert_file
from anerf.checkpoint.shards import write_shard
from anerf.field.threads import use_threads
from anerf.jobs.folder import trace_of_job
from anerf.jobs.learning import Learning, build_learning, learning_device
from anerf.learn.expert import StretchReport
from anerf.render.exposure import Exposures

log = logging.getLogger(__name__)


@ray.remote(max_restarts=-1, max_task_retries=0)
class ExpertActor:
    """Restores its experts from the job's last checkpoint, or from `base`, whenever its process starts anew.

    The constructor is cheap and cannot fail; the first call for an expert loads it, so that an unusable scene
    or checkpoint reaches the caller as the error that it is. Every call names its expert, and every call that
    reads or changes what was learned names the step at which its caller believes the expert to stand; it
    raises `StepMismatch` if a restart put it back. Calls for different experts run side by side, where
    `max_concurrency` lets them; those for one expert take turns.
    """

    def __init__(
        self, job_dir: str, experts: Sequence[int], threads: int, outlives: bool, base: str | None = None
    ) -> None:
        """`outlives`: that it does not end with its coordinator, but when no other one comes for it.

        `base`: the step folder that an adaptation's coordinator starts from.
        """
        logs.of_job(Path(job_dir), trace=trace_of_job(Path(job_dir)))
        use_threads(threads)
        self._job_dir, self._base = job_dir, base
        self._turns = {expert: threading.Lock() for expert in experts}
        self._loaded: dict[int, Learning] = {}
        self._threads = ThreadPoolExecutor(len(self._turns))
        self._allegiance = Allegiance()
        self._own_background: dict[int, tuple[int, np.ndarray]] = {}
        """Each expert's copy before it took a mean, and at which step."""
        if outlives:
            end_when_alone(Path(job_dir).name)

    @contextmanager
    def _turn(self, expert: int) -> Iterator[Learning]:
        with logs.bound(expert=expert), self._turns[expert]:
            if expert not in self._loaded:
                self._loaded[expert] = build_learning(self._job_dir, expert, self._base)
                step = self._loaded[expert].step
                log.info("expert %d ready at step %d on %s", expert, step, learning_device())
            yield self._loaded[expert]

    @contextmanager
    def _at(self, expert: int, step: int) -> Iterator[Learning]:
        with self._turn(expert) as learning:
            if learning.step != step:
                raise StepMismatch(
                    f"expert {expert} stands at step {learning.step}, not {step}:"
                    " ask `ready` and go on from there"
                )
            yield learning

    def each(self, method: str, args_of: Mapping[int, tuple[Any, ...]], term: int = 0) -> dict[int, Any]:
        """A method of several of the process's experts, see `answer_each`.

        Raises:
            Deposed: a coordinator of a later term has called.
        """
        self._allegiance.follow(term)
        return answer_each(self, self._threads, method, args_of)

    def ready(self, expert: int) -> int:
        """Load what is needed; the step at which the expert stands."""
        with self._turn(expert) as learning:
            return learning.step

    def node(self, _expert: int) -> str:
        """The machine on which the expert lives."""
        return ray.get_runtime_context().get_node_id()

    def advance(self, expert: int, from_step: int, to_step: int) -> StretchReport:
        """Do the steps between; `from_step` must be where the expert stands.

        Raises:
            StepMismatch: it stands elsewhere.
        """
        with self._at(expert, from_step) as learning:
            return learning.advance(to_step)

    def plan(self, expert: int, at_step: int, of_steps: int) -> None:
        """Let learning rates fall until `of_steps`."""
        with self._at(expert, at_step) as learning:
            learning.rates = replace(learning.rates, outer_steps=max(of_steps, at_step + 1))

    def background(self, expert: int, at_step: int) -> np.ndarray | None:
        """The expert's copy of the shared background, before it took a mean at this step, if it did.

        So a meeting that was interrupted can be held again, with the same result.
        """
        with self._at(expert, at_step) as learning:
            taken_at, own = self._own_background.get(expert, (-1, None))
            if taken_at == at_step:
                return own
            background = learning.state.background
            return None if background is None else background.detach().cpu().numpy()

    def set_background(self, expert: int, at_step: int, shared: np.ndarray) -> None:
        """Take the experts' mean."""
        own = self.background(expert, at_step)
        with self._at(expert, at_step) as learning:
            if own is not None:
                self._own_background[expert] = at_step, own
            learning.state.set_background(torch.from_numpy(shared.copy()))

    def exposure_evidence(self, expert: int, at_step: int) -> tuple[np.ndarray, ...] | None:
        """What the expert's rays say of its photographs' exposures, where these are learned."""
        with self._at(expert, at_step) as learning:
            evidence = learning.state.evidence
            return None if evidence is None else tuple(t.numpy() for t in evidence.seen())

    def exposures(self, expert: int, at_step: int) -> dict[str, np.ndarray]:
        """The photographs' exposures as the expert knows them; empty where there are none."""
        with self._at(expert, at_step) as learning:
            exposures = learning.state.exposures
            return {} if exposures is None else exposures.named()

    def set_exposures(self, expert: int, at_step: int, named: dict[str, np.ndarray]) -> None:
        """Take the exposures that all experts' evidence gave."""
        with self._at(expert, at_step) as learning:
            state, exposures = learning.state, Exposures.of_named(named)
            state.exposures = None if exposures is None else exposures.to(state.params.grid.device)

    def snapshot(self, expert: int, at_step: int) -> dict[str, np.ndarray]:
        """What pictures need, as arrays that the object store shares without copying."""
        with self._at(expert, at_step) as learning:
            return {name: t.cpu().numpy() for name, t in learning.state.render_tensors().items()}

    @ray.method(num_returns=2)
    def stamped_snapshot(self, expert: int, at_step: int) -> tuple[int, dict[str, np.ndarray]]:
        """The step and the snapshot apart: who has the step knows that the snapshot is whole."""
        return at_step, self.snapshot(expert, at_step)

    def set_rates(self, expert: int, at_step: int, rates: Mapping[str, float]) -> None:
        """Learn with other rates from now on: those of `Rates` that are named."""
        with self._at(expert, at_step) as learning:
            learning.rates = replace(learning.rates, **rates)

    def forget(self, expert: int) -> None:
        """Let go of what was learned: the next call starts from the job's checkpoint again."""
        with self._turns[expert]:
            self._loaded.pop(expert, None)

    def save(self, expert: int, at_step: int, step_uri: str) -> ShardRecord:
        """Write the expert's shard of the checkpoint in `step_uri`."""
        with self._at(expert, at_step) as learning:
            state = learning.state
            meta = {"expert": str(expert), "step": str(state.step)}
            return write_shard(expert_file(step_uri, expert), state.tensors(), meta)

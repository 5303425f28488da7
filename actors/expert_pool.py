"""The experts of one job: started together, advanced in stretches, replaced when a process dies."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
)

from actors import metrics, placing
from actors.expert import ExpertActor, StepMismatch
from actors.shares import Shares, groups_of, machines, packed
from anerf.errors import AnerfError, ExpertLost, JobCancelled
from anerf.jobs.events import JobLog
from anerf.jobs.spec import EvalJob, TrainJob
from anerf.learn.expert import StretchReport
from anerf.learn.exposure import solved_exposures
from anerf.render.exposure import Exposures

log = logging.getLogger(__name__)

MAX_LOSSES = 20  # of one expert in one job
POLL_S = 0.2
RESTART_TIMEOUT_S = 120.0
NOTICE_S = 30.0


def cause_of(error: RayTaskError) -> BaseException:
    """The exception that the remote method raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _step_when_restarted(actor: Any, expert: int) -> int:
    """The step at which an expert's new process stands.

    Raises:
        GetTimeoutError: there is none for too long.
    """
    deadline = time.monotonic() + RESTART_TIMEOUT_S
    while True:
        try:
            return int(ray.get(actor.ready.remote(expert), timeout=max(0.0, deadline - time.monotonic())))
        except ActorUnavailableError:
            # Still starting, which is not another death.
            time.sleep(POLL_S)


class ExpertPool:
    """Keeps a job's experts at the same step, `experts_per_actor` of them in each `ExpertActor`.

    Not thread-safe; used by one coordinator.
    """

    def __init__(
        self,
        job: TrainJob | EvalJob,
        job_dir: str,
        experts: Sequence[int],
        events: JobLog,
        cancelled: Callable[[], bool],
    ) -> None:
        self._job_dir = job_dir
        self._events = events
        self._cancelled = cancelled
        self._losses = dict.fromkeys(experts, 0)
        self._step: dict[int, int] = {}
        groups = groups_of(experts, job.experts_per_actor)
        self._group_of = {expert: group for group in groups for expert in group}
        among = packed(machines(), len(experts)) if job.placement == "pack" else machines()
        shares = Shares.divided(among, len(experts), len(groups))
        self._threads = shares.threads
        self._options = {group: shares.options(group) for group in groups}
        self._reserved = None
        if job.placement is not None and groups:
            self._reserved = placing.reserve(job.job_id, job.placement, list(self._options.values()))
            for index, group in enumerate(groups):
                self._options[group] |= placing.inside(self._reserved, index)
        self._actors = {group: self._start(group) for group in groups}

    @property
    def step(self) -> int:
        """The step that the slowest expert has reached."""
        return min(self._step.values(), default=0)

    def _start(self, group: tuple[int, ...]) -> Any:
        return ExpertActor.options(**self._options[group]).remote(self._job_dir, group, self._threads)

    def _actor(self, expert: int) -> Any:
        return self._actors[self._group_of[expert]]

    def load(self) -> int:
        """Wait until every expert has loaded; the step from which all go on.

        Raises:
            JobCancelled: the job was cancelled meanwhile.
            AnerfError: what an expert could not use.
        """
        self._step = self._call_all(lambda actor, e: actor.ready.remote(e), cancellable=True)
        furthest = max(self._step.values())
        if min(self._step.values()) != furthest:
            self.advance(furthest)
        return furthest

    def advance(self, to_step: int) -> dict[int, StretchReport]:
        """Bring every expert to `to_step`, replacing those that die on the way; what each of them did.

        Raises:
            ExpertLost: an expert died too often.
        """
        reports = self._call_all(lambda actor, e: actor.advance.remote(e, self._step[e], to_step))
        self._step = dict.fromkeys(self._step, to_step)
        return dict(sorted(reports.items()))

    def call(self, method: str, *args: Any) -> dict[int, Any]:
        """Results of a method of every expert, all standing at the pool's step."""
        return self._call_all(lambda actor, e: getattr(actor, method).remote(e, self._step[e], *args))

    def snapshots(self) -> dict[int, ray.ObjectRef]:
        """References to every expert's render tensors; the coordinator never holds them."""
        return {e: self._actor(e).snapshot.remote(e, step) for e, step in self._step.items()}

    def results(self, start: Callable[[], list[ray.ObjectRef]]) -> list[Any]:
        """Results of tasks that use the experts' snapshots, started again where one of them was lost."""
        while True:
            try:
                return ray.get(start())
            except RayTaskError as error:
                cause = cause_of(error)
                if not isinstance(cause, RayActorError | ObjectLostError | StepMismatch):
                    if isinstance(cause, AnerfError):
                        raise cause from None
                    raise
                log.warning("a snapshot was lost (%s), taken again", cause)
            except (RayActorError, ObjectLostError) as error:
                log.warning("a snapshot was lost (%s), taken again", error)
            self.call("background")  # any call that names the step brings a restarted expert back to it

    def shared(self) -> dict[str, np.ndarray]:
        """What belongs to the whole scene, by name: the mean background and the photographs' exposures."""
        mean = self._mean_background()
        return self.exposures() | ({} if mean is None else {"background": mean})

    def _mean_background(self) -> np.ndarray | None:
        copies = [c for _, c in sorted(self.call("background").items()) if c is not None]
        return np.asarray(sum(copies) / len(copies), dtype=np.float32) if copies else None

    def exposures(self) -> dict[str, np.ndarray]:
        """The photographs' exposures, of which every expert has the same copy; empty where there are none."""
        return dict(next(iter(self.call("exposures").values()), {}))

    def sync_background(self) -> None:
        """Give every expert the mean of their backgrounds."""
        mean = self._mean_background()
        if mean is not None:
            self.call("set_background", mean)

    def sync_exposures(self, flight: int = 0) -> None:
        """Give every expert the exposures that all experts' rays together speak for."""
        evidence = [e for _, e in sorted(self.call("exposure_evidence").items()) if e is not None]
        before = Exposures.of_named(self.exposures())
        if evidence and before is not None:
            tensors = [(torch.from_numpy(xx.copy()), torch.from_numpy(xy.copy())) for xx, xy in evidence]
            self.call("set_exposures", solved_exposures(tensors, before, flight).named())

    def stop(self) -> None:
        """End the experts' processes."""
        for actor in self._actors.values():
            ray.kill(actor)
        if self._reserved is not None:
            placing.give_back(self._reserved)

    def _call_all(
        self, call: Callable[[Any, int], ray.ObjectRef], cancellable: bool = False
    ) -> dict[int, Any]:
        waiting = {call(self._actor(expert), expert): expert for expert in self._group_of}
        results: dict[int, Any] = {}
        silent_s = 0.0
        while waiting:
            if cancellable and self._cancelled():
                raise JobCancelled("the job was cancelled")
            done, _ = ray.wait(list(waiting), timeout=POLL_S)
            silent_s = 0.0 if done else silent_s + POLL_S
            if silent_s >= NOTICE_S:
                experts = ", ".join(str(e) for e in sorted(waiting.values()))
                self._events.append(
                    "log", message=f"waiting for experts {experts}: busy, or no CPU or GPU free for them"
                )
                silent_s = 0.0
            for ref in done:
                expert = waiting.pop(ref)
                try:
                    results[expert] = ray.get(ref)
                except RayActorError as error:
                    self._revive(expert, error)
                    waiting[call(self._actor(expert), expert)] = expert
                except RayTaskError as error:
                    cause = cause_of(error)
                    if isinstance(cause, StepMismatch):
                        # The process was restarted between two calls, unnoticed until now.
                        self._revive(expert, cause)
                        waiting[call(self._actor(expert), expert)] = expert
                    elif isinstance(cause, AnerfError):
                        raise cause from None
                    else:
                        raise
        return results

    def _revive(self, expert: int, error: Exception) -> None:
        """Wait for the expert's new process and bring it back to where the pool knew it.

        Raises:
            ExpertLost: it dies again and again.
        """
        reached = self._step.get(expert, 0)
        while True:
            self._losses[expert] += 1
            metrics.count(metrics.EXPERTS_LOST)
            first_line = str(error).strip().splitlines()[0]
            self._events.append("expert_lost", expert=expert, step=reached, message=first_line)
            log.warning("expert %d was lost at step %d: %s", expert, reached, first_line)
            if self._losses[expert] > MAX_LOSSES:
                raise ExpertLost(
                    f"expert {expert} died {MAX_LOSSES} times in this job: look at its log for the cause"
                )
            actor = self._actor(expert)
            try:
                step = _step_when_restarted(actor, expert)
                self._events.append(
                    "expert_restored", expert=expert, step=step, message="from the last checkpoint"
                )
                if step < reached:
                    ray.get(actor.advance.remote(expert, step, reached))
                self._step[expert] = max(step, reached)
                return
            except GetTimeoutError:
                ray.kill(actor)
                group = self._group_of[expert]
                self._actors[group] = self._start(group)
                error = ExpertLost(f"no new process within {RESTART_TIMEOUT_S:.0f} s, another one is started")
            except RayActorError as again:
                error = again
            except RayTaskError as failed:
                cause = cause_of(failed)
                raise (cause if isinstance(cause, AnerfError) else failed) from None

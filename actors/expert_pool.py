"""The experts of one job: started together, advanced in stretches, replaced when a process dies."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
)

from actors import metrics
from actors.each import StepMismatch
from actors.fan_out import POLL_S, Calls, Group, Listener, cause_of, is_late
from actors.meetings import Meetings, mean_of
from actors.processes import Processes, StartActor, start_expert
from anerf.checkpoint.manifest import ShardRecord
from anerf.errors import AnerfError, ExpertLost, JobCancelled, StorageUnavailable
from anerf.jobs.events import Diary
from anerf.jobs.spec import EvalJob, TrainJob
from anerf.learn.expert import StretchReport
from anerf.learn.exposure import added_up, solved_exposures
from anerf.render.exposure import Exposures

log = logging.getLogger(__name__)

MAX_LOSSES = 20  # of one expert in one job
RESTART_TIMEOUT_S = 120.0


class ExpertPool:
    """Keeps a job's experts at the same step, `experts_per_actor` of them in each `ExpertActor`.

    Not thread-safe; used by one coordinator.
    """

    def __init__(
        self,
        job: TrainJob | EvalJob,
        job_dir: str,
        experts: Sequence[int],
        events: Diary,
        cancelled: Callable[[], bool],
        start_actor: StartActor = start_expert,
        outlives: bool = False,
        term: int = 0,
    ) -> None:
        """Start the experts; where they outlive this process, take over those that outlived another one.

        `term` is the number of the job's run: experts answer the latest alone, and others hear `Deposed`.
        """
        self._term = term
        self._left = False
        self._late: Calls | None = None
        self._meetings = Meetings()
        self.n_calls = 0
        """Remote calls so far."""
        self._events = events
        self._cancelled = cancelled
        self._losses = dict.fromkeys(experts, 0)
        self._step: dict[int, int] = {}
        self._processes = Processes(job, job_dir, experts, start_actor, outlives)
        self._group_of = {expert: group for group in self._processes.actors for expert in group}

    @property
    def threads(self) -> int:
        """Of each expert."""
        return self._processes.threads

    @property
    def taken_over(self) -> bool:
        """Whether some of the experts are those of a coordinator that was lost."""
        return self._processes.taken_over

    @property
    def step(self) -> int:
        """The step that the slowest expert has reached."""
        return min(self._step.values(), default=0)

    def _actor(self, expert: int) -> Any:
        return self._processes.actors[self._group_of[expert]]

    def load(self) -> int:
        """Wait until every expert has loaded; the step from which all go on.

        Raises:
            JobCancelled: the job was cancelled meanwhile.
            AnerfError: what an expert could not use.
        """
        calls = self._calls("ready", self._group_of, lambda _: ())
        while calls.waiting:
            if self._cancelled():
                raise JobCancelled("the job was cancelled")
            calls.poll()
        self._step = dict(calls.results)
        firsts = [group[0] for group in self._processes.actors]
        for first, node in self._finish(self._calls("node", firsts, lambda _: ())).items():
            self._processes.note_node(self._group_of[first], node)
        furthest = max(self._step.values())
        if min(self._step.values()) != furthest:
            self.advance(furthest)
        return furthest

    def advance(self, to_step: int, wait_for_all: bool = True) -> dict[int, StretchReport]:
        """Bring every expert to `to_step`, replacing those that die on the way; what each of them did.

        Without `wait_for_all` a round ends when nearly all are there and the others are far behind: these go
        on alone, take no part in what follows, and are waited for where all are needed (`catch_up`).

        Raises:
            ExpertLost: an expert died too often.
        """
        self._take_in_late_ones()
        calls = self._calls("advance", self.present(), lambda e: (self._step[e], to_step))
        n_groups = len(calls.waiting)
        while calls.waiting:
            calls.poll()
            elapsed_s = time.monotonic() - calls.began
            if not wait_for_all and self._late is None and is_late(calls.took_s, n_groups, elapsed_s):
                self._leave_behind(calls)
                break
        self._step |= dict.fromkeys(calls.results, to_step)
        return dict(sorted(calls.results.items()))

    def present(self) -> list[int]:
        """The experts that are not far behind, all standing at one step."""
        late = set() if self._late is None else set(self._late.asked()) | set(self._late.results)
        return [expert for expert in self._group_of if expert not in late]

    def catch_up(self) -> None:
        """Wait for those who are far behind, and bring them to where the others are."""
        if self._late is None:
            return
        step = max(self._step[expert] for expert in self.present())
        while self._late.waiting:
            self._late.poll()
        self._take_in_late_ones()
        behind = [expert for expert, at in self._step.items() if at < step]
        self._finish(self._calls("advance", behind, lambda e: (self._step[e], step)))
        self._step |= dict.fromkeys(behind, step)

    def call(self, method: str, *args: Any) -> dict[int, Any]:
        """Results of a method of every expert, all standing at the pool's step."""
        self.catch_up()
        return self._finish(self._calls(method, self._group_of, lambda e: (self._step[e], *args)))

    def save(self, step_uri: str, besides: Collection[int]) -> dict[int, ShardRecord | StorageUnavailable]:
        """Let the other experts write their shards in `step_uri`: a record of each, or what hindered it."""
        self.catch_up()
        experts = [expert for expert in self._group_of if expert not in besides]
        return self._finish(
            self._calls("save", experts, lambda e: (self._step[e], step_uri), StorageUnavailable)
        )

    def _call_present(self, method: str, *args: Any) -> dict[int, Any]:
        """The same of those who are not far behind."""
        return self._finish(self._calls(method, self.present(), lambda e: (self._step[e], *args)))

    def give(self, method: str, *args: Any) -> None:
        """Call a method that changes every expert; one restarted later is changed at this step too."""
        self.catch_up()
        self._give_present(method, *args)

    def _give_present(self, method: str, *args: Any) -> None:
        self._call_present(method, *args)
        self._meetings.note(max(self._step[expert] for expert in self.present()), method, *args)

    def _leave_behind(self, calls: Calls) -> None:
        self._late = Calls(calls.start, calls.listener, waiting=calls.waiting)
        late = ", ".join(map(str, self._late.asked()))
        self._events.append("log", message=f"experts {late} are late: the others go on without them")
        log.warning("experts %s are late: the others go on without them", late)

    def _take_in_late_ones(self) -> None:
        """Know where those stand who have come up from behind."""
        if self._late is None:
            return
        if self._late.waiting:
            self._late.poll(timeout_s=0)
        if not self._late.waiting:
            self._step |= {expert: report.step for expert, report in self._late.results.items()}
            back = ", ".join(map(str, sorted(self._late.results)))
            self._events.append("log", message=f"experts {back} are back")
            self._late = None

    def snapshots(self) -> dict[int, ray.ObjectRef]:
        """References to every expert's render tensors; the coordinator never holds them."""
        self.catch_up()
        return {e: self._actor(e).snapshot.remote(e, step) for e, step in self._step.items()}

    def stamped_snapshots(self) -> dict[int, tuple[ray.ObjectRef, ray.ObjectRef]]:
        """Every expert's step and snapshot, on their way (see `whole`); none where an expert is late."""
        if len(self.present()) < len(self._group_of):
            return {}
        return {e: self._actor(e).stamped_snapshot.remote(e, step) for e, step in self._step.items()}

    def start_over(self) -> None:
        """Bring every expert of an adaptation back to the checkpoint that it began with.

        Raises:
            JobCancelled: the job was cancelled meanwhile.
        """
        self.catch_up()
        self._step = dict.fromkeys(self._group_of, 0)
        self._meetings.forget()
        self._finish(self._calls("forget", self._group_of, lambda _: ()))
        self.load()

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
        mean = mean_of(self.call("background"))
        return self.exposures() | ({} if mean is None else {"background": mean})

    def exposures(self) -> dict[str, np.ndarray]:
        """The photographs' exposures, of which every expert has the same copy; empty where there are none."""
        first = self.present()[:1]
        found = self._finish(self._calls("exposures", first, lambda e: (self._step[e],)))
        return dict(found[first[0]]) if first else {}

    def sync_background(self) -> None:
        """Give the experts the mean of their backgrounds."""
        mean = mean_of(self._call_present("background"))
        if mean is not None:
            self._give_present("set_background", mean)

    def sync_exposures(self, flight: int = 0) -> None:
        """Give the experts the exposures that their rays together speak for."""
        found = sorted(self._call_present("exposure_evidence").items())
        evidence = [e for _, e in found if e is not None]
        before = Exposures.of_named(self.exposures())
        if evidence and before is not None:
            seen = [tuple(torch.from_numpy(part.copy()) for part in of_one) for of_one in evidence]
            summed = added_up(seen, len(before.maps))
            self._give_present("set_exposures", solved_exposures([summed], before, flight).named())

    def saved(self) -> None:
        """A checkpoint of the step at which all stand exists now: restarted experts begin there."""
        self._meetings.forget()

    def leave(self) -> None:
        """Let the experts be: they are another coordinator's."""
        self._left = True

    def stop(self) -> None:
        """End the experts' processes, unless they were left."""
        if not self._left:
            self._processes.stop()

    def _calls(
        self,
        method: str,
        experts: Collection[int],
        args_of: Callable[[int], tuple[Any, ...]],
        expected: type[AnerfError] | None = None,
    ) -> Calls:
        """Begin to call a method of some experts, a call for each of their processes."""

        def start(group: Group, of: Sequence[int]) -> ray.ObjectRef:
            self.n_calls += 1
            return self._processes.actors[group].each.remote(
                method, {expert: args_of(expert) for expert in of}, self._term
            )

        calls = Calls(start, Listener(self._revive, self._tell_silence), expected)
        wanted = set(experts)
        for group in self._processes.actors:
            if of := [expert for expert in group if expert in wanted]:
                calls.begin(group, of)
        return calls

    def _finish(self, calls: Calls) -> dict[int, Any]:
        while calls.waiting:
            calls.poll()
        return dict(sorted(calls.results.items()))

    def _tell_silence(self, experts: Sequence[int]) -> None:
        told = ", ".join(map(str, experts))
        message = f"waiting for experts {told}: busy, or no CPU or GPU free for them"
        self._events.append("log", message=message)

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
            try:
                step = self._step_when_restarted(expert)
                actor = self._actor(expert)
                self._processes.note_node(self._group_of[expert], ray.get(actor.node.remote(expert)))
                self._events.append(
                    "expert_restored", expert=expert, step=step, message="from the last checkpoint"
                )
                self._meetings.repeat(actor, expert, step, reached)
                self._step[expert] = max(step, reached)
                return
            except GetTimeoutError:
                self._processes.start_anew([self._group_of[expert]])
                error = ExpertLost(f"no new process within {RESTART_TIMEOUT_S:.0f} s, another one is started")
            except ActorDiedError as died:  # and Ray will not start it again
                self._processes.start_anew([self._group_of[expert]])
                error = died
            except RayActorError as again:
                error = again
            except RayTaskError as failed:
                cause = cause_of(failed)
                raise (cause if isinstance(cause, AnerfError) else failed) from None

    def _step_when_restarted(self, expert: int) -> int:
        """The step at which an expert's new process stands.

        Raises:
            GetTimeoutError: there is none for too long.
        """
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while True:
            self._processes.leave_lost_machines()
            left_s = max(0.0, deadline - time.monotonic())
            try:
                return int(ray.get(self._actor(expert).ready.remote(expert), timeout=left_s))
            except ActorUnavailableError:
                # Still starting, which is not another death.
                time.sleep(POLL_S)

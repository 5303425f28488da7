"""Runs jobs as Ray actors, one actor a job, and watches how they end."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from actors.autoscaling import Autoscaler
from actors.named import await_free, end_actor, end_experts
from actors.names import JOB_PREFIX, NAMESPACE
from actors.scheduler import MachineFailure, Outcome
from anerf.errors import JobCancelled, JobError
from anerf.jobs.folder import JOB_FILE, AcceptedJob
from anerf.jobs.spec import ViewJob
from anerf.jobs.turns import Resources

logger = logging.getLogger(__name__)

_GIB = 2**30


class RayRunner:
    """A `Runner` whose jobs are named actors, owned by this process: they end with it.

    There is one Mediator at a time: where it finds a name taken, an earlier life of it left that job behind.
    Other owners are many, and none ends the job of another. The experts of trainings outlive this process
    where it is the Mediator's.
    """

    def __init__(self, prefix: str, on_end: Callable[[], object]) -> None:
        """Name the jobs' actors with a prefix; call `on_end`, in another thread, when one has ended."""
        self._prefix = prefix
        self._on_end = on_end
        self._inherits = prefix == JOB_PREFIX
        self._runs: dict[str, Future[str]] = {}
        self._actors: dict[str, Any] = {}
        self._asked_to_stop: set[str] = set()
        self._killed: set[str] = set()
        self._clearing: dict[str, threading.Thread] = {}
        self._autoscaler = Autoscaler()

    def capacity(self) -> Resources:
        """What the living nodes have together."""
        total = ray.cluster_resources()
        return Resources(total.get("CPU", 0.0), total.get("GPU", 0.0), total.get("memory", 0.0) / _GIB)

    def want(self, total: Resources | None) -> None:
        """Let the autoscaler, where there is one, make the cluster so large."""
        self._autoscaler.want(total)

    def start(self, accepted: AcceptedJob) -> None:
        """Start the job's actor, and wait for its end, in a thread of its own."""
        self._forget(accepted.job.job_id)
        run: Future[str] = Future()
        run.add_done_callback(lambda _: self._on_end())
        self._runs[accepted.job.job_id] = run

        def work() -> None:
            try:
                run.set_result(self._run(accepted))
            except BaseException as error:  # noqa: BLE001 it goes to whoever asks for the outcome
                run.set_exception(error)

        threading.Thread(target=work, name=f"job {accepted.job.job_id}", daemon=True).start()

    def ask_to_stop(self, job_id: str) -> None:
        """Tell a running job to end after its current step."""
        self._asked_to_stop.add(job_id)
        if job_id in self._actors:
            self._actors[job_id].cancel.remote()

    def kill(self, job_id: str) -> None:
        """End a running job at once."""
        self._killed.add(job_id)
        if job_id in self._actors:
            ray.kill(self._actors[job_id])

    def ended(self) -> list[Outcome]:
        """Jobs that have ended since the last call."""
        outcomes = []
        for job_id, run in list(self._runs.items()):
            if run.done():
                del self._runs[job_id]
                error = run.exception()
                outcomes.append(Outcome(job_id, error, "" if error else run.result()))
        return outcomes

    def _forget(self, job_id: str) -> None:
        self._asked_to_stop.discard(job_id)
        self._killed.discard(job_id)

    def clear(self, job_id: str) -> None:
        """End what a job that does not run has left behind; for the Mediator alone, see above."""
        if not self._inherits:
            return

        def work() -> None:
            end_actor(self._prefix + job_id)
            end_experts(job_id)

        self._clearing = {job: thread for job, thread in self._clearing.items() if thread.is_alive()}
        thread = self._clearing[job_id] = threading.Thread(target=work, daemon=True)
        thread.start()

    def _run(self, accepted: AcceptedJob) -> str:
        job_id = accepted.job.job_id
        name = self._prefix + job_id
        if (clearing := self._clearing.get(job_id)) is not None:
            clearing.join()
        # Before the name is asked for: it may import torch, and the name be taken meanwhile.
        actor_class = _actor_class(accepted)
        if self._inherits:
            end_actor(name)
        else:
            await_free(name)
        if job_id in self._asked_to_stop | self._killed:
            self._forget(job_id)
            raise JobCancelled("cancelled before it began")
        options = {"name": name, "namespace": NAMESPACE, "max_restarts": 0}
        actor = actor_class.options(**options).remote(str(accepted.folder))
        self._actors[job_id] = actor
        # What was asked meanwhile found no actor.
        if job_id in self._killed:
            ray.kill(actor)
        elif job_id in self._asked_to_stop:
            actor.cancel.remote()
        try:
            summary = cast(dict[str, Any] | None, ray.get(actor.run.remote()))
        except RayError as error:
            cause = _cause(error)
            if isinstance(cause, FileNotFoundError) and not (accepted.folder / JOB_FILE).exists():
                cause = JobError(f"{accepted.folder} was removed while the job ran")
            raise cause from error
        finally:
            del self._actors[job_id]
            self._forget(job_id)
            # The process goes with its last handle; other references may linger.
            ray.kill(actor)
        return str((summary or {}).get("message", ""))


def _actor_class(accepted: AcceptedJob) -> Any:
    # Imported here: these bring torch, and the processes that schedule must stay small.
    if isinstance(accepted.job, ViewJob):
        from actors.viewer import ViewerActor

        return ViewerActor
    from actors.coordinator import MetaCoordinator

    return MetaCoordinator


def _cause(error: RayError) -> BaseException:
    """What went wrong in the actor; a lost process or node is the machine's fault, not the job's."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, RayError) and not isinstance(cause, RayTaskError):
            return MachineFailure(f"the job lost a process it needs: {_first_line(cause)}")
        return cause if isinstance(cause, BaseException) else error
    return MachineFailure(f"the job's process was lost: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

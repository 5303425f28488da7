"""Actors that are found, and ended, by their names: coordinators, and experts that outlive theirs.

The experts of a training that the Mediator looks after are detached: where their coordinator's process is
lost, the next coordinator takes them over where they stand. Ray ends them with nobody, so that others must:
their coordinator when it ends, the runner when the job has ended, a new Mediator where it finds some of a job
that has. An expert that was without a coordinator for a while ends itself, whatever became of all the others.
"""

import logging
import threading
import time
from collections.abc import Collection, Iterable
from typing import Any

import ray
from ray.exceptions import RayError

from actors import placing
from actors.fan_out import Group
from actors.names import EXPERT_PREFIX, JOB_PREFIX, NAMESPACE
from actors.scheduler import MachineFailure
from anerf.errors import JobError

logger = logging.getLogger(__name__)

ALONE_S = 60.0
"""Longer than a Mediator and a coordinator take to start again on a busy machine."""
_LOOK_S = 10.0
_NAME_FREED_TIMEOUT_S = 15.0


def expert_name(job_id: str, group: Group) -> str:
    """The name of the actor with a group of a job's experts."""
    return f"{EXPERT_PREFIX}{job_id}-{group[0]}"


def find(name: str) -> Any:
    """The living actor of this name, or None."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:  # Ray's way to say that there is none
        return None


def end_actor(name: str) -> None:
    """End the actor of this name, if there is one, and wait until the name is free."""
    deadline = time.monotonic() + _NAME_FREED_TIMEOUT_S
    while (actor := find(name)) is not None:
        logger.warning("ending actor %s", name)
        ray.kill(actor)
        if time.monotonic() > deadline:
            raise MachineFailure(
                f"actor {name} is still there {_NAME_FREED_TIMEOUT_S:g} s after it was ended"
            )
        time.sleep(0.1)


def await_free(name: str) -> None:
    """Wait until the name is free: an actor ends with its owner, and its name some moments after it.

    Raises:
        JobError: the actor of this name stays: another process owns it and is at work.
    """
    deadline = time.monotonic() + _NAME_FREED_TIMEOUT_S
    while find(name) is not None:
        if time.monotonic() > deadline:
            raise JobError(
                f"{name} is at work in this Ray already, started from another folder (it did not end within "
                f"{_NAME_FREED_TIMEOUT_S:g} s): wait for it, or give this job another `job_id`"
            )
        time.sleep(0.1)


def end_stale_jobs() -> None:
    """End every job actor that an earlier Mediator has left behind."""
    for name in _names(JOB_PREFIX):
        end_actor(name)


def standing_experts(job_id: str, groups: Iterable[Group]) -> dict[Group, Any]:
    """Those of a job's experts that are there."""
    names = set(_names(EXPERT_PREFIX))
    found = {group: find(name) for group in groups if (name := expert_name(job_id, group)) in names}
    return {group: actor for group, actor in found.items() if actor is not None}


def end_experts(job_id: str) -> None:
    """End the experts that a job's lost coordinator has left behind, and give back their room."""
    names = [name for name in _names(EXPERT_PREFIX) if _job_of(name) == job_id]
    for actor in map(find, names):
        if actor is not None:
            ray.kill(actor)
    for name in names:
        end_actor(name)  # they end side by side
    placing.give_back_left_behind(job_id)


def end_orphans(unfinished: Collection[str]) -> None:
    """End experts of all jobs but these."""
    for job_id in {_job_of(name) for name in _names(EXPERT_PREFIX)} - set(unfinished):
        end_experts(job_id)


def end_when_alone(job_id: str) -> None:
    """From now on, end this actor for good when the job has had no coordinator for a while."""
    actor = ray.get_runtime_context().current_actor

    def watch() -> None:
        seen_at = time.monotonic()
        while time.monotonic() - seen_at < ALONE_S:
            time.sleep(_LOOK_S)
            try:
                if find(JOB_PREFIX + job_id) is None:
                    continue
            except RayError as error:  # Ray's head does not answer, so that nobody knows
                logger.warning("cannot look for the coordinator: %s", error)
            seen_at = time.monotonic()
        logger.warning("there was no coordinator for %g s: this expert ends", ALONE_S)
        placing.give_back_left_behind(job_id)
        ray.kill(actor)

    threading.Thread(target=watch, name="alone", daemon=True).start()


def _names(prefix: str) -> list[str]:
    named: Any = ray.util.list_named_actors(all_namespaces=True)
    return [
        actor["name"]
        for actor in named
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix)
    ]


def _job_of(expert: str) -> str:
    return expert.removeprefix(EXPERT_PREFIX).rpartition("-")[0]

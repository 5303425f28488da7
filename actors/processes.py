"""The processes of a job's experts: started with their shares, taken over, moved off lost machines, ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from actors import placing
from actors.expert import ExpertActor
from actors.fan_out import Group
from actors.named import end_actor, expert_name, standing_experts
from actors.names import NAMESPACE
from actors.shares import Shares, groups_of, living_nodes, machines, packed
from anerf.jobs.spec import EvalJob, TrainJob

StartActor = Callable[[Mapping[str, Any], str, Group, int], Any]
"""Starts a process for a group of experts: Ray's options, the job's folder, the experts, their threads."""


def start_expert(options: Mapping[str, Any], job_dir: str, group: Group, threads: int) -> Any:
    """The process in which a group's experts really learn."""
    outlives = options.get("lifetime") == "detached"
    return ExpertActor.options(**options).remote(job_dir, group, threads, outlives)


class Processes:
    """One actor for each group of a job's experts, by group in `actors`."""

    def __init__(
        self,
        job: TrainJob | EvalJob,
        job_dir: str,
        experts: Sequence[int],
        start_actor: StartActor,
        outlives: bool,
    ) -> None:
        """Start them; where they outlive this process, take over those that outlived another one."""
        self._job = job
        self._job_dir = job_dir
        self._start_actor = start_actor
        self._outlives = outlives
        self._n_experts = len(experts)
        self._node: dict[Group, str] = {}
        groups = groups_of(experts, job.experts_per_actor)
        found = standing_experts(job.job_id, groups) if outlives else {}
        self.taken_over = len(found) > 0
        """Whether some of them are those of a coordinator that was lost."""
        missing = [group for group in groups if group not in found]
        among = packed(machines(), len(experts)) if job.placement == "pack" else machines()
        shares = Shares.divided(among, len(experts), len(missing), job.cpus, job.gpus)
        self.threads = shares.threads
        """Of each expert."""
        self._reserved = placing.left_behind(job.job_id) if self.taken_over else None
        if self.taken_over or job.placement is None:
            started = {group: self._start(group, shares) for group in missing}
        else:
            started = self._start_in_reserved(missing, shares)
        self.actors: dict[Group, Any] = {group: (found | started)[group] for group in groups}

    def note_node(self, group: Group, node: str) -> None:
        """A group's process is on this machine."""
        self._node[group] = node

    def leave_lost_machines(self) -> None:
        """Give those who lived on a machine that is lost other room.

        Where they had reserved room and Ray finds no other of the same size, all of it is given back, and all
        start anew: Ray would look for it for ever, without a pause, and do little else.
        """
        living = living_nodes()
        lost = [group for group, node in self._node.items() if node not in living]
        if not lost:
            return
        if self._reserved is None:
            self.start_anew(lost)
        elif not placing.is_whole(self._reserved):
            placing.give_back(self._reserved)
            self._reserved = None
            self.start_anew(list(self.actors))

    def start_anew(self, groups: Sequence[Group]) -> None:
        """End processes and start others with shares of what is free now, which may be less than before."""
        for group in groups:
            ray.kill(self.actors[group])
            if self._outlives:
                end_actor(expert_name(self._job.job_id, group))  # waits until the name is free
            self._node.pop(group, None)
        shares = Shares.divided(machines(), self._n_experts, len(groups), self._job.cpus, self._job.gpus)
        for group in groups:
            self.actors[group] = self._start(group, shares)

    def stop(self) -> None:
        """End them all."""
        for actor in self.actors.values():
            ray.kill(actor)
        if self._reserved is not None:
            placing.give_back(self._reserved)

    def _start_in_reserved(self, groups: Sequence[Group], shares: Shares) -> dict[Group, Any]:
        job = self._job
        if job.placement is None or not groups:
            return {}
        wanted = [shares.options(group) for group in groups]
        self._reserved = placing.reserve(job.job_id, job.placement, wanted, self._outlives)
        return {
            group: self._start(group, shares, placing.inside(self._reserved, index))
            for index, group in enumerate(groups)
        }

    def _start(self, group: Group, shares: Shares, place: Mapping[str, Any] | None = None) -> Any:
        if place is None:
            place = {} if self._job.placement is None else placing.outside(self._job.placement)
        options = {**shares.options(group), **place}
        if self._outlives:
            name = expert_name(self._job.job_id, group)
            options |= {"name": name, "namespace": NAMESPACE, "lifetime": "detached"}
        return self._start_actor(options, self._job_dir, group, self.threads)

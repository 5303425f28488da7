"""Which machines a job's actors live on: a placement group of Ray for each job that asks for one."""

from collections.abc import Sequence
from typing import Any

from ray.util import get_placement_group, placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.shares import Placement

PREFIX = "experts-"
ROOM_S = 1


def reserve(job: str, placement: Placement, wanted: Sequence[dict[str, Any]]) -> PlacementGroup:
    """Ask for room for actors with these options, spread over machines or packed on few of them.

    Actors may be started in it at once; they wait until there is room. What a coordinator that was killed
    has left behind is given back first.
    """
    name = PREFIX + job
    try:
        left_behind = get_placement_group(name)
    except ValueError:  # Ray's way to say that there is none
        pass
    else:
        remove_placement_group(left_behind)
    return placement_group([_bundle(options) for options in wanted], placement.upper(), name=name)


def inside(group: PlacementGroup, index: int) -> dict[str, Any]:
    """The option that puts an actor in its place."""
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, index)}


def is_whole(group: PlacementGroup) -> bool:
    """Whether all of it has room, also after a machine was lost: Ray looks for other room at once."""
    return group.wait(timeout_seconds=ROOM_S)


def outside(placement: Placement) -> dict[str, Any]:
    """The option that puts an actor where its reserved place would be, had it one."""
    return {"scheduling_strategy": "SPREAD" if placement == "spread" else "DEFAULT"}


def give_back(group: PlacementGroup) -> None:
    """End the actors that are left in it, and free the room."""
    remove_placement_group(group)


def _bundle(options: dict[str, Any]) -> dict[str, float]:
    bundle = {"CPU": options["num_cpus"], "GPU": options["num_gpus"]}
    return {resource: share for resource, share in bundle.items() if share > 0}

"""Which machines a job's actors live on: a placement group of Ray for each job that asks for one."""

from collections.abc import Sequence
from typing import Any

from ray.util import get_placement_group, placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.shares import Placement

PREFIX = "experts-"
ROOM_S = 1


def reserve(
    job: str, placement: Placement, wanted: Sequence[dict[str, Any]], outlives: bool = False
) -> PlacementGroup:
    """Ask for room for actors with these options, spread over machines or packed on few of them.

    Actors may be started in it at once; they wait until there is room. What a coordinator that was killed
    has left behind is given back first. Room that `outlives` this process stays until it is given back.
    """
    give_back_left_behind(job)
    return placement_group(
        [_bundle(options) for options in wanted],
        placement.upper(),
        name=PREFIX + job,
        lifetime="detached" if outlives else None,
    )


def left_behind(job: str) -> PlacementGroup | None:
    """The room of a job's experts that outlived their coordinator."""
    try:
        return get_placement_group(PREFIX + job)
    except ValueError:  # Ray's way to say that there is none
        return None


def give_back_left_behind(job: str) -> None:
    """End the actors that are left in a job's room, if it has any, and free it."""
    group = left_behind(job)
    if group is not None:
        remove_placement_group(group)


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

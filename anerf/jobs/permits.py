"""Where a job that came in a message may go: by default, to no place but its own folder."""

from collections.abc import Sequence

from anerf.checkpoint.location import is_below, local_path, shown
from anerf.errors import JobError
from anerf.jobs.places import starts
from anerf.jobs.spec import EvalJob, Job, TrainJob


def refuse_elsewhere(job: Job, allowed: Sequence[str]) -> None:
    """Refuse a job of a message that names places which nobody has allowed.

    A job may save in its own folder and below the `allowed` places (local folders or URIs); it may start from
    local checkpoints and from those below the allowed places.

    Raises:
        JobError: with the field, the place and the remedy.
    """
    places = {field: place for field, place in starts(job).items() if local_path(place) is None}
    if isinstance(job, TrainJob | EvalJob) and job.checkpoint_root is not None:
        places["checkpoint_root"] = job.checkpoint_root
    for field, place in places.items():
        if not any(is_below(place, root) for root in allowed):
            raise JobError(
                f"`{field}` is {shown(place)}, where this stack may not go: leave it out, or have the stack"
                " started with `anerf up --storage` and a place above it, its options as they stand here"
            )

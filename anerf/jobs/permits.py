"""Where a job that came in a message may go: by default, to no place but its own folder."""

from collections.abc import Sequence

from anerf.checkpoint.location import is_below, local_path, shown
from anerf.errors import JobError
from anerf.jobs.spec import EvalJob, Job, TrainJob


def refuse_elsewhere(job: Job, allowed: Sequence[str]) -> None:
    """Refuse a job of a message that names places which nobody has allowed.

    A job may save in its own folder and below the `allowed` places (local folders or URIs); it may start from
    local checkpoints and from those below the allowed places.

    Raises:
        JobError: with the field, the place and the remedy.
    """
    saves_to = job.checkpoint_root if isinstance(job, TrainJob | EvalJob) else None
    starts_from = job.checkpoint_path
    if starts_from is not None and local_path(starts_from) is not None:
        starts_from = None
    for field, place in (("checkpoint_root", saves_to), ("checkpoint_path", starts_from)):
        if place is not None and not any(is_below(place, root) for root in allowed):
            raise JobError(
                f"`{field}` is {shown(place)}, where this stack may not go: leave it out, or have the stack"
                " started with `anerf up --storage` and a place above it, its options as they stand here"
            )

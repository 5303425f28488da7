"""What a Mediator keeps and allows, and how much of it."""

from dataclasses import dataclass

QUEUE_LIMIT = 1000


@dataclass(frozen=True)
class Limits:
    """How much of what is kept, and where jobs may go."""

    queue: int = QUEUE_LIMIT
    """Jobs that may wait; further ones wait on the topic."""
    keep_days: float | None = None
    """Days after a job's end when its results go; None: never."""
    warm: int = 0
    """Idle processes with everything imported, see `actors.warmth`."""
    storage: tuple[str, ...] = ()
    """Places (folders, URIs) beside the output folder that jobs may save to and start from."""

"""What a Mediator keeps, and how much of it."""

from dataclasses import dataclass

QUEUE_LIMIT = 1000


@dataclass(frozen=True)
class Limits:
    """How much of what is kept."""

    queue: int = QUEUE_LIMIT
    """Jobs that may wait; further ones wait on the topic."""
    keep_days: float | None = None
    """Days after a job's end when its results go; None: never."""
    warm: int = 0
    """Idle processes with everything imported, see `actors.warmth`."""

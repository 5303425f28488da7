"""What a Mediator keeps within bounds."""

from dataclasses import dataclass

QUEUE_LIMIT = 1000


@dataclass(frozen=True)
class Limits:
    """Jobs that may wait in the Mediator (further ones wait on the topic), and days that results are kept."""

    queue: int = QUEUE_LIMIT
    keep_days: float | None = None

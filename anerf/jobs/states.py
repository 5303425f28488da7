"""The states of a job, and which may follow which."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never leave this state by itself."""
        return self not in (JobState.QUEUED, JobState.RUNNING)

    def may_become(self, following: "JobState") -> bool:
        """Whether a job may go from this state to `following`."""
        return following in _FOLLOWERS[self]


_FOLLOWERS: dict[JobState, frozenset[JobState]] = {
    # A queued job fails without running when it cannot be started at all.
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    # Back to the queue: a lost machine, or everything was restarted.
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    # Somebody starts it again by hand: it goes on from its last checkpoint.
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.REJECTED: frozenset(),
}

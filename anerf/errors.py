"""Errors that a user reads: one sentence naming the thing, the limit and the remedy.

Every error raised on purpose derives from `AnerfError`. Commands print its text, without a traceback,
and end with `exit_status`; jobs store it in their last event. `retryable` tells a scheduler whether the
same work may succeed when tried again (a lost machine, a full disk) or never will (a wrong input).
"""


class AnerfError(Exception):
    """Base of every error that anerf raises on purpose."""

    exit_status = 1
    retryable = False


class InputError(AnerfError):
    """A file or value that the user brought cannot be used."""

    exit_status = 2


class SceneError(InputError):
    """A prepared scene is missing, incomplete or does not fit the request."""


class PartitionError(InputError):
    """A partition is missing or does not fit the scene or the job."""


class CheckpointError(InputError):
    """A checkpoint is missing, incomplete or damaged."""


class JobError(InputError):
    """A job message is not a valid job."""


class BackendError(AnerfError):
    """A field backend cannot be used here."""


class ExpertLost(AnerfError):
    """An expert's process died more often than the job allows."""

    retryable = True


class StorageUnavailable(AnerfError):
    """Storage does not take or give anything now (a full disk, no connection): the same may work later.

    Not to be confused with a file that is not there (FileNotFoundError) or is damaged (CheckpointError).
    """

    retryable = True


class QueueFull(AnerfError):
    """As many jobs wait as may."""

    retryable = True
    retry_after_s = 10


class StackError(AnerfError):
    """The local stack (Ray, broker, long-lived actors) is not up, or not as expected."""


class JobCancelled(AnerfError):
    """The job was cancelled; its last checkpoint stays usable."""

    exit_status = 3

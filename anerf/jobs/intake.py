"""The first look at a job message: is it a job at all."""

from collections.abc import Iterable

from anerf.errors import JobError
from anerf.jobs.headers import Header, JobHeaders, read_headers
from anerf.jobs.spec import Job, parse_job


def examine(
    value: bytes | None, headers: Iterable[Header] = (), mark: str | None = None
) -> tuple[Job, JobHeaders]:
    """The job that a message from anywhere describes, and what its headers say.

    Args:
        value: The message's bytes; None is what Kafka calls a tombstone.
        headers: The message's headers.
        mark: The same for every delivery of the message: what its id is made up from if it gives none.

    Raises:
        JobError: it is no job, with the reason in a sentence; nothing else is raised, whatever the bytes.
    """
    if value is None:
        raise JobError("the job message has no value (a tombstone): send one JSON object, or nothing")
    found = read_headers(headers)
    return parse_job(value, made_up_from=mark), found

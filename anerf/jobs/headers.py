"""Headers of a job message: the version of its format, and the trace that it belongs to.

Both are optional: a message without headers is a job of version 1 that nobody traces.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from anerf.errors import JobError
from anerf.jobs.message import shown
from anerf.jobs.topics import MESSAGE_VERSION

logger = logging.getLogger(__name__)

VERSION_HEADER = "anerf-version"
TRACE_HEADER = "traceparent"

Header = tuple[str, bytes | str | None]
"""As Kafka has them: a name may come several times, and a value may be missing."""

_VERSION = re.compile(r"[0-9]{1,9}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[\x21-\x7e]*)?")
_LONGEST_TRACEPARENT = 256


@dataclass(frozen=True)
class JobHeaders:
    """What the headers of a job message say; `traceparent` is a valid W3C trace context or None."""

    version: int = MESSAGE_VERSION
    traceparent: str | None = None


def read_headers(headers: Iterable[Header]) -> JobHeaders:
    """The headers that we know; others are left alone.

    A trace that is not well-formed is dropped, as W3C's Trace Context demands: it must not cost a job.

    Raises:
        JobError: the version is unknown or no number.
    """
    versions, traces = [], []
    for name, value in headers:
        if name == VERSION_HEADER:
            versions.append(_text(value))
        elif name == TRACE_HEADER:
            traces.append(_text(value))
    version = _version(versions[-1]) if versions else MESSAGE_VERSION
    if not traces:
        return JobHeaders(version)
    if len(traces) > 1 or not is_traceparent(traces[0]):
        logger.warning("the job's %s %s is not well-formed: left out", TRACE_HEADER, shown(traces[0]))
        return JobHeaders(version)
    return JobHeaders(version, traces[0])


def is_traceparent(text: str) -> bool:
    """Whether a text is a `traceparent` of W3C's Trace Context, https://www.w3.org/TR/trace-context/."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or len(text) > _LONGEST_TRACEPARENT:
        return False
    version, trace_id, parent_id, more = match.groups()
    return (
        version != "ff"
        and (more is None or version != "00")
        and bool(int(trace_id, 16) and int(parent_id, 16))
    )


def trace_id(traceparent: str) -> str:
    """The part of a trace context that all parts of a trace share."""
    return traceparent.split("-")[1]


def message_headers(traceparent: str | None) -> list[Header]:
    """The headers of a message of ours."""
    headers: list[Header] = [(VERSION_HEADER, str(MESSAGE_VERSION))]
    if traceparent is not None:
        headers.append((TRACE_HEADER, traceparent))
    return headers


def _version(text: str) -> int:
    if not _VERSION.fullmatch(text) or int(text) == 0:
        raise JobError(
            f"the job message's header {VERSION_HEADER} is {shown(text)}: "
            f"give {MESSAGE_VERSION}, or leave it out"
        )
    if int(text) > MESSAGE_VERSION:
        raise JobError(
            f"the job message is of version {int(text)} (header {VERSION_HEADER}), this anerf reads up to "
            f"{MESSAGE_VERSION}: update it, or send the job in the older format"
        )
    return int(text)


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""

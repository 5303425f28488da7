"""Whether an error says that storage is out for the time being; telling it with place, reason and remedy."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from anerf.errors import StorageUnavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BROKEN = {errno.EIO, errno.EROFS, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV}
_CUT_OFF = {
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
}
_S3_ERROR = re.compile(r"AWS Error (?P<code>[A-Z_]+)(?: \(HTTP status (?P<status>-?[0-9]+)\))?")
"""How Arrow words an error of S3: the name that its SDK gives it, with HTTP's number where it has none."""
_S3_OUTAGES = {
    "INTERNAL_FAILURE",
    "NETWORK_CONNECTION",
    "REQUEST_TIMEOUT",
    "SERVICE_UNAVAILABLE",
    "SLOW_DOWN",
    "THROTTLING",
}


def is_outage(error: BaseException) -> bool:
    """Whether an error of the operating system or of an object store may go by itself, or with more room."""
    if isinstance(error, StorageUnavailable):
        return True
    if not isinstance(error, OSError):
        return False
    if error.errno is not None:
        return error.errno in _FULL | _BROKEN | _CUT_OFF
    found = _S3_ERROR.search(str(error))
    if found is None:
        return isinstance(error, TimeoutError | ConnectionError)
    status = int(found["status"] or 0)
    return found["code"] in _S3_OUTAGES or status < 0 or status == 429 or status >= 500


def outage(place: str, error: OSError) -> StorageUnavailable:
    """The error that tells people: the place, the system's reason, and what to do."""
    if error.errno in _FULL:
        remedy = "make room there"
    elif error.errno in _BROKEN:
        remedy = "see to its disk or mount"
    else:
        remedy = "see that it is up and can be reached"
    reason = os.strerror(error.errno) if error.errno is not None else str(error).strip()
    return StorageUnavailable(f"{place} is not available ({reason}): {remedy}")


@contextmanager
def telling_outages(place: str) -> Iterator[None]:
    """Turn an `OSError` inside the block that is an outage of `place` into one that says so.

    Raises:
        StorageUnavailable: the storage is out. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        if is_outage(error):
            raise outage(place, error) from error
        raise

"""Storage that is out is told and waited for: a job whose disk is full goes on once there is room."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ray.exceptions import RayTaskError

from actors.fan_out import cause_of
from anerf.errors import JobCancelled
from anerf.jobs.events import Event, JobLog
from anerf.jobs.faults import reason
from anerf.outage import is_outage

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
_LISTEN_S = 0.1
T = TypeVar("T")


class PatientDiary:
    """A running job's diary, which waits until storage takes an event, and does so for any other work.

    Whoever waits can be cancelled, in tenths of a second. Nothing that was learned is lost meanwhile.
    """

    def __init__(self, diary: JobLog, cancelled: Callable[[], bool]) -> None:
        self._diary = diary
        self._cancelled = cancelled

    def append(self, kind: str, **fields: Any) -> Event:
        """Write one event, as `JobLog.append`.

        Raises:
            JobCancelled: the job was cancelled while it waited.
        """
        return self.insist(lambda: self._diary.append(kind, **fields))

    def insist(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is done again, after longer and longer pauses, while storage is out.

        Raises:
            JobCancelled: the job was cancelled, and storage is out. Other errors of `work` pass.
        """
        began, pause_s, why = time.monotonic(), 0.0, ""
        while True:
            try:
                result = work()
            except Exception as error:
                cause = cause_of(error) if isinstance(error, RayTaskError) else error
                if not is_outage(cause):
                    raise
                why = reason(cause)
            else:
                if pause_s > 0:
                    self._tell(f"storage is back after {time.monotonic() - began:.0f} s: {why}")
                return result
            if pause_s == 0:
                self._tell(f"waiting for storage: {why}")
            else:
                log.warning("still waiting for storage: %s", why)
            pause_s = min(2 * pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
            self._pause(pause_s, why)

    def _pause(self, pause_s: float, why: str) -> None:
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            if self._cancelled():
                raise JobCancelled(
                    f"cancelled while storage was out, with the last complete checkpoint kept: {why}"
                )
            time.sleep(_LISTEN_S)

    def _tell(self, message: str) -> None:
        """Tell it in the log, and in the diary unless that is what cannot be written."""
        log.warning("%s", message)
        try:
            self._diary.append("log", message=message)
        except OSError as error:
            log.warning("the diary does not take that: %s", error)

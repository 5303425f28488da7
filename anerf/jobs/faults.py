"""Whose fault it is that a job's run ended early, and whether it is run again.

A wrong input fails at once: it would fail again. What happened to the machine (a lost process, a lost node)
says nothing about the job, so it is tried again, after longer and longer pauses, until it has ended early
`max_attempts` times without getting anywhere. Storage that is out (a full disk, no connection) is waited for
as long as it takes. A fault of ours may be a matter of luck: it is tried once more.
"""

from dataclasses import dataclass
from enum import StrEnum

from anerf.errors import AnerfError
from anerf.outage import is_outage

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
STORAGE_PAUSE_S = 10.0
OURS_ATTEMPTS = 2


class Fault(StrEnum):
    """Whose fault it is."""

    JOB = "job"
    MACHINE = "machine"
    OURS = "ours"


@dataclass(frozen=True)
class Verdict:
    """What follows from a run that ended early: another one after `pause_s`, or none (None)."""

    fault: Fault
    message: str
    pause_s: float | None


def fault_of(error: BaseException) -> Fault:
    """Whose fault an error is; what is not ours by name and not the disk's is a mistake in our code."""
    if isinstance(error, AnerfError):
        return Fault.MACHINE if error.retryable else Fault.JOB
    return Fault.MACHINE if is_outage(error) else Fault.OURS


def judge(error: BaseException, failures: int, max_attempts: int) -> Verdict:
    """What follows from an error.

    Args:
        error: What ended the run.
        failures: Runs in a row that ended early and got nowhere, this one counted.
        max_attempts: How many of these the job allows.
    """
    fault = fault_of(error)
    if is_outage(error):
        return Verdict(
            fault, f"waiting for storage, next try in {STORAGE_PAUSE_S:g} s: {reason(error)}", STORAGE_PAUSE_S
        )
    if fault is Fault.JOB:
        return Verdict(fault, str(error), None)
    text = reason(error)
    allowed = max_attempts if fault is Fault.MACHINE else min(OURS_ATTEMPTS, max_attempts)
    if failures >= allowed:
        return Verdict(fault, f"attempt {failures} of {allowed} failed: {text}", None)
    pause_s = min(FIRST_PAUSE_S * 2.0 ** max(failures - 1, 0), LONGEST_PAUSE_S)
    told = f"attempt {failures} of {allowed}" if failures else "this attempt, which got on,"
    return Verdict(fault, f"{told} failed, the next starts in {pause_s:g} s: {text}", pause_s)


def reason(error: BaseException) -> str:
    """What a user reads: our own errors speak for themselves, of others the type helps us to find them."""
    if isinstance(error, AnerfError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    if fault_of(error) is Fault.MACHINE:
        return text
    return f"a fault of anerf's own, please report it with the job's log.txt ({text})"

"""Whose fault an early end is, and whether the job is run again."""

import errno

import pytest

from anerf.errors import ExpertLost, InputError, StackError
from anerf.jobs.faults import LONGEST_PAUSE_S, Fault, fault_of, judge


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InputError("no scene"), Fault.JOB),
        (StackError("no broker"), Fault.JOB),
        (ExpertLost("died"), Fault.MACHINE),
        (OSError(errno.ENOSPC, "full"), Fault.MACHINE),
        (OSError(errno.EIO, "broken"), Fault.MACHINE),
        (PermissionError(errno.EACCES, "no"), Fault.OURS),
        (KeyError("x"), Fault.OURS),
    ],
)
def test_every_error_is_somebodys_fault(error, fault):
    assert fault_of(error) is fault


def test_pauses_double_up_to_the_longest():
    pauses = [judge(ExpertLost("x"), n, 100).pause_s for n in range(1, 9)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, LONGEST_PAUSE_S]


def test_a_run_that_got_on_does_not_count():
    verdict = judge(ExpertLost("node lost"), 0, 1)
    assert verdict.pause_s == 2.0
    assert verdict.message == "this attempt, which got on, failed, the next starts in 2 s: node lost"


def test_the_last_attempt_is_told():
    assert judge(ExpertLost("node lost"), 3, 3).message == "attempt 3 of 3 failed: node lost"
    assert judge(ExpertLost("node lost"), 3, 3).pause_s is None


def test_a_job_that_may_run_once_is_not_run_twice_for_our_faults():
    assert judge(KeyError("x"), 1, 1).pause_s is None
    assert judge(KeyError("x"), 1, 5).pause_s == 2.0
    assert judge(KeyError("x"), 2, 5).pause_s is None

"""The Mediator's queue has an end, and what is known already does not need room in it."""

import json

import pytest

from actors.mediator import Delivery, take_in
from actors.reporting import status_message
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable
from tests.somebody import open_folder, somebody


def delivery(job_id, **fields):
    return Delivery(json.dumps({"op": "train", "scene": "s", "job_id": job_id, **fields}).encode(), job_id)


def ids(answers):
    return [answer.job_id for answer in answers]


def test_a_full_queue_takes_no_new_job_and_still_answers_for_the_others(tmp_path):
    table = JobTable(tmp_path)
    assert ids(take_in(table, [delivery("a"), delivery("b"), delivery("c")], tmp_path, 2)) == ["a", "b"]
    answers = take_in(table, [delivery("a"), Delivery(b"no job", "x"), delivery("c")], tmp_path, 2)
    assert [(a.state, a.new) for a in answers] == [(JobState.QUEUED, False), (JobState.REJECTED, False)]
    assert not (tmp_path / "c").exists()
    table.change("a", JobState.RUNNING)
    assert ids(take_in(table, [delivery("c"), delivery("d")], tmp_path, 2)) == ["c"]


def test_what_is_no_number_is_told_as_null(tmp_path):
    table = JobTable(tmp_path)
    take_in(table, [delivery("a")], tmp_path, 2)
    event = table.accepted("a").log.append("progress", step=1, of_steps=2, loss=float("nan"))
    told = status_message(table.show("a"), event)
    assert told["loss"] is None
    assert told["event"]["loss"] is None
    assert told["step"] == 1
    json.dumps(told, allow_nan=False)


def test_a_job_whose_folder_is_closed_to_us_is_turned_away_and_keeps_nobody_waiting():
    with open_folder() as out:
        (out / "closed").mkdir(mode=0o000)
        (out / "read-only").mkdir(mode=0o555)
        (out / "odd" / "job.json").mkdir(parents=True)
        with somebody():
            table = JobTable(out)
            sent = [delivery(name) for name in ("closed", "read-only", "odd", "ours")]
            answers = take_in(table, sent, out, 1)
            assert [a.state for a in answers] == 3 * [JobState.REJECTED] + [JobState.QUEUED]
            assert answers[0].job_id == "closed"
            assert (
                f"{out}/closed is closed to us (Permission denied): give the job another"
                in answers[0].message
            )
            full = take_in(table, [delivery("closed"), delivery("ours"), delivery("later")], out, 1)
            assert [a.state for a in full] == [JobState.REJECTED, JobState.QUEUED]


def test_a_job_that_was_known_before_its_folder_was_closed_keeps_nobody_waiting():
    with open_folder() as out, somebody():
        table = JobTable(out)
        take_in(table, [delivery("a")], out, 9)
        (out / "a").chmod(0)
        answers = take_in(table, [delivery("a"), delivery("b")], out, 9)
        (out / "a").chmod(0o700)
        assert [a.state for a in answers] == [JobState.REJECTED, JobState.QUEUED]


@pytest.mark.parametrize("mode", [0o000, 0o555])
@pytest.mark.parametrize("queue_limit", [0, 9])
def test_an_output_folder_that_is_closed_to_us_is_waited_for(mode, queue_limit):
    with open_folder() as out:
        (out / "closed").mkdir(mode=0o000)
        out.chmod(mode)
        with somebody():
            for job_id in ("closed", "new"):
                assert take_in(JobTable(out), [delivery(job_id)], out, queue_limit) == []

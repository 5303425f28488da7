"""The Mediator's queue has an end, and what is known already does not need room in it."""

import json

from actors.mediator import Delivery, take_in
from actors.reporting import status_message
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable


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

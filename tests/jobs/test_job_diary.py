"""Events, the record they add up to, and the states a job may go through."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.jobs.events import JobLog, JobRecord, fold
from anerf.jobs.states import JobState


def test_events_come_back_in_order_with_time_and_job(tmp_path):
    log = JobLog(tmp_path / "demo")
    (tmp_path / "demo").mkdir()
    log.append("state", state="RUNNING", attempt=1)
    log.append("progress", step=5, of_steps=10, loss=0.25)
    events, end = log.read()
    assert [event["kind"] for event in events] == ["state", "progress"]
    assert {event["job_id"] for event in events} == {"demo"}
    assert events[0]["at"].endswith("Z")
    assert log.read(end) == ([], end)


def test_a_diary_that_does_not_exist_yet_is_empty(tmp_path):
    assert JobLog(tmp_path / "nothing").read() == ([], 0)


def test_a_line_still_being_written_is_read_once_it_is_whole(tmp_path):
    log = JobLog(tmp_path)
    log.append("log", message="a")
    _, end = log.read()
    line = b'{"kind":"log","message":"b"}\n'
    with log.path.open("ab") as file:
        file.write(line[:10])
    assert log.read(end) == ([], end)
    with log.path.open("ab") as file:
        file.write(line[10:])
    events, after = log.read(end)
    assert [event["message"] for event in events] == ["b"]
    assert after == end + len(line)


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path):
    log = JobLog(tmp_path)
    log.append("log", message="a")
    with log.path.open("ab") as file:
        file.write(b'{"kind":"log","mess')
    log.append("log", message="c")
    assert [event["message"] for event in log.read()[0]] == ["a", "c"]


@settings(deadline=None, max_examples=30)  # every event waits for the disk
@given(st.integers(0, 400))
def test_reading_in_two_parts_is_reading_once(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("job")
    log = JobLog(folder)
    for number in range(4):
        log.append("log", message=str(number))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[: min(cut, len(whole))])
    first, next_byte = log.read()
    log.path.write_bytes(whole)
    second, _ = log.read(next_byte)
    assert [e["message"] for e in first + second] == ["0", "1", "2", "3"]


def test_the_record_is_what_the_events_add_up_to():
    record = fold(
        [
            {"kind": "accepted", "at": "t0"},
            {"kind": "state", "state": "QUEUED", "message": ""},
            {"kind": "state", "state": "RUNNING", "attempt": 1},
            {"kind": "progress", "step": 10, "of_steps": 100, "loss": 0.5, "psnr": 20.0, "eta_s": 9.0},
            {"kind": "progress", "step": 20, "of_steps": 100, "loss": 0.4, "psnr": None},
            {"kind": "something of tomorrow", "at": "t9"},
        ]
    )
    assert record == JobRecord(
        JobState.RUNNING, 20, 100, loss=0.4, psnr=20.0, eta_s=9.0, attempt=1, updated_at="t9"
    )


@given(st.lists(st.dictionaries(st.sampled_from(["kind", "state", "step", "at"]), st.text(max_size=5))))
def test_strange_events_do_not_bring_it_down(events):
    assert fold(events).state is JobState.QUEUED


def test_floats_that_json_lacks_still_make_a_line(tmp_path):
    log = JobLog(tmp_path)
    log.append("progress", step=1, of_steps=2, loss=float("nan"))
    assert json.loads(log.path.read_text())["step"] == 1
    assert fold(log.read()[0]).step == 1


def test_which_state_may_follow_which():
    allowed = {
        ("QUEUED", "RUNNING"), ("QUEUED", "FAILED"), ("QUEUED", "CANCELLED"),
        ("RUNNING", "QUEUED"), ("RUNNING", "SUCCEEDED"), ("RUNNING", "FAILED"), ("RUNNING", "CANCELLED"),
        ("FAILED", "QUEUED"), ("CANCELLED", "QUEUED"),
    }  # fmt: skip
    assert allowed == {(a.value, b.value) for a in JobState for b in JobState if a.may_become(b)}
    assert {s.value for s in JobState if s.is_terminal} == {"SUCCEEDED", "FAILED", "CANCELLED", "REJECTED"}

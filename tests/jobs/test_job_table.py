"""Admission, memory on the disk, and what a restart finds there."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from anerf.errors import JobError
from anerf.jobs.folder import JOB_FILE, accept_job, read_accepted_job, write_json_atomically
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable


def job(job_id="a", **fields):
    return parse_job({"op": "train", "scene": "/s", "job_id": job_id, **fields})


def test_a_new_job_is_queued_and_on_the_disk(tmp_path):
    result = JobTable(tmp_path).submit(job(), "kafka")
    assert (result.job_id, result.state, result.new) == ("a", JobState.QUEUED, True)
    content = json.loads((tmp_path / "a" / JOB_FILE).read_text())
    assert content["version"] == 1
    assert content["origin"] == "kafka"
    assert content["job"] == {"op": "train", "scene": "/s", "job_id": "a"}


def test_the_same_job_again_answers_with_its_state(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    table.change("a", JobState.RUNNING, attempt=1)
    again = table.submit(job(ray_samples=96), "kafka")
    assert (again.state, again.new) == (JobState.RUNNING, False)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_settings_under_a_known_id_are_rejected(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    result = table.submit(job(ray_samples=97), "kafka")
    assert result.state is JobState.REJECTED
    assert "there is a job a with other settings already" in result.message
    assert table.show("a").record.state is JobState.QUEUED


def test_a_new_table_finds_what_the_old_one_left(tmp_path):
    table = JobTable(tmp_path)
    for name in ("a", "b", "c"):
        table.submit(job(name), "kafka")
    table.change("a", JobState.RUNNING, attempt=1)
    table.change("a", JobState.SUCCEEDED, "done")
    table.change("b", JobState.RUNNING, attempt=2)
    reborn = JobTable(tmp_path)
    assert [(j.job_id, j.record.state, j.record.attempt) for j in reborn.summaries()] == [
        ("a", JobState.SUCCEEDED, 1),
        ("b", JobState.RUNNING, 2),
        ("c", JobState.QUEUED, 0),
    ]
    assert reborn.submit(job("a"), "kafka").state is JobState.SUCCEEDED


def test_a_job_is_found_on_the_disk_also_when_it_came_after_the_table(tmp_path):
    table = JobTable(tmp_path)
    accept_job(job(), tmp_path, "run")
    assert table.submit(job(), "kafka").new is False
    assert table.show("a").origin == "run"


def test_a_folder_that_is_no_job_is_left_out(tmp_path, caplog):
    (tmp_path / "scene").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / JOB_FILE).write_text("{")
    JobTable(tmp_path).submit(job(), "kafka")
    table = JobTable(tmp_path)
    assert [j.job_id for j in table.summaries()] == ["a"]
    table.summaries()
    assert caplog.text.count("is not JSON") == 1
    assert table.submit(job("torn"), "kafka").state is JobState.REJECTED


def test_a_forbidden_change_of_state_is_refused(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    with pytest.raises(JobError, match="job a is QUEUED and cannot become SUCCEEDED"):
        table.change("a", JobState.SUCCEEDED)
    with pytest.raises(JobError, match="there is no job b"):
        table.show("b")


def test_news_are_told_once_with_the_job_as_it_stood(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    table.change("a", JobState.RUNNING, attempt=1)
    assert [(e["kind"], j.record.state) for j, e in table.take_news()] == [
        ("accepted", JobState.QUEUED),
        ("state", JobState.QUEUED),
        ("state", JobState.RUNNING),
    ]
    table.accepted("a").log.append("progress", step=1, of_steps=2)
    assert [(j.record.step, e["kind"]) for j, e in table.take_news()] == [(1, "progress")]
    assert table.take_news() == []


def test_a_reason_for_waiting_is_written_once(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    table.wait_for("a", "until b has ended")
    table.wait_for("a", "until b has ended")
    events, _ = table.accepted("a").log.read()
    assert [e["message"] for e in events if e["kind"] == "log"] == ["waiting until b has ended"]
    assert table.show("a").waiting_for == "until b has ended"


def test_a_name_that_is_taken_by_something_else_is_refused(tmp_path):
    (tmp_path / "stack.json").write_text("{}")
    result = JobTable(tmp_path).submit(job("stack.json"), "kafka")
    assert result.state is JobState.REJECTED
    assert "give the job another `job_id`" in result.message


def test_a_record_of_another_version_or_folder_is_not_read(tmp_path):
    accepted = accept_job(job(), tmp_path, "run")
    assert read_accepted_job(accepted.folder).job == accepted.job
    accepted.folder.rename(tmp_path / "b")
    with pytest.raises(JobError, match="is of job a, not b"):
        read_accepted_job(tmp_path / "b")
    (tmp_path / "b" / JOB_FILE).write_text('{"version": 9}')
    with pytest.raises(JobError, match="not a version 1 record"):
        read_accepted_job(tmp_path / "b")
    with pytest.raises(JobError, match=r"holds no job\.json"):
        read_accepted_job(tmp_path)


def test_a_file_is_published_whole_and_only_once_where_asked(tmp_path):
    path = tmp_path / "x.json"
    write_json_atomically(path, {"a": 1}, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_json_atomically(path, {"a": 2}, replace=False)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_room_does_not_load_torch():
    code = "import sys, anerf.jobs.table, anerf.logs; assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_job_whose_acceptance_was_torn_gets_its_first_events(tmp_path):
    table = JobTable(tmp_path)
    table.submit(job(), "kafka")
    (tmp_path / "a" / "events.jsonl").unlink()  # killed after job.json, before the diary
    (tmp_path / "a" / ".job.json.1.ab.tmp").write_text("{")
    reborn = JobTable(tmp_path)
    assert reborn.submit(job(), "kafka").state is JobState.QUEUED
    events, _ = reborn.accepted("a").log.read()
    assert [event["kind"] for event in events] == ["accepted", "state"]
    reborn.change("a", JobState.CANCELLED)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["events.jsonl", "job.json"]


def test_a_folder_of_something_else_is_not_taken_for_a_job(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".job.json.7.tmp").write_text("{")  # of an acceptance that was cut short
    (tmp_path / "scene" / "images").mkdir(parents=True)
    table = JobTable(tmp_path)
    assert table.submit(job("a"), "kafka").new
    result = table.submit(job("scene"), "kafka")
    assert result.state is JobState.REJECTED
    assert "images lies in it" in result.message
    assert sorted(p.name for p in (tmp_path / "scene").iterdir()) == ["images"]


def test_a_disk_without_hard_links_takes_jobs_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", refuse)
    accept_job(job(), tmp_path, "run")
    with pytest.raises(JobError, match="holds a job already"):
        accept_job(job(), tmp_path, "run")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["events.jsonl", "job.json"]


def test_a_closed_folder_is_left_out_and_keeps_nobody_from_the_others():
    with tempfile.TemporaryDirectory() as root:  # pytest's own lie in folders that are closed to others
        out = Path(root)
        accept_job(job(), out, "kafka")
        (out / "lost+found").mkdir(mode=0o000)
        program = f"""if True:
            import os
            from pathlib import Path
            from anerf.jobs.table import JobTable
            if os.getuid() == 0:
                os.setuid(65534)
            print([j.job_id for j in JobTable(Path("{out}")).summaries()])"""
        out.chmod(0o755)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout == "['a']\n", done.stderr


def test_removed_jobs_are_let_go_unless_all_are_away(tmp_path):
    table = JobTable(tmp_path)
    for job_id in ("a", "b"):
        table.submit(job(job_id), "kafka")
    shutil.rmtree(tmp_path / "a")
    assert table.forget_removed() == ["a"]
    assert [j.job_id for j in table.summaries()] == ["b"]
    shutil.rmtree(tmp_path / "b")  # as where a disk is not mounted
    assert table.forget_removed() == []
    assert [j.job_id for j in table.unfinished()] == ["b"]

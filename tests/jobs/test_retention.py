"""Which results go, and that the record of a job outlives them."""

from datetime import UTC, datetime, timedelta

import pytest

from anerf.jobs.folder import accept_job
from anerf.jobs.places import starts
from anerf.jobs.retention import Retention, remove_results
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable


def table_with(out, **states):
    table = JobTable(out)
    for job_id, state in states.items():
        table.submit(parse_job({"op": "train", "scene": "/s", "job_id": job_id}), "kafka")
        if state is not JobState.QUEUED:
            table.change(job_id, JobState.RUNNING)
        if state.is_terminal:
            table.change(job_id, state)
    return table


def later(days):
    return datetime.now(UTC) + timedelta(days=days)


def gone(table, keep_days, used, now):
    return [job.job_id for job in Retention(keep_days).expendable(table.summaries(), used, now)]


def test_only_ended_jobs_of_long_ago_that_nobody_starts_from(tmp_path):
    table = table_with(
        tmp_path, a=JobState.SUCCEEDED, b=JobState.FAILED, c=JobState.RUNNING, d=JobState.QUEUED
    )
    assert gone(table, 7, [], later(6)) == []
    assert gone(table, 7, [], later(8)) == ["a", "b"]
    assert gone(table, 7, [f"{tmp_path}/a/checkpoints/step0000010"], later(8)) == ["b"]
    assert gone(table, 7, ["/elsewhere"], later(8)) == ["a", "b"]
    assert gone(table, None, [], later(1000)) == []


def test_results_go_and_the_job_stays_known(tmp_path):
    table = table_with(tmp_path, a=JobState.SUCCEEDED)
    folder = tmp_path / "a"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photograph").write_text("x")
    (folder / "checkpoints" / "step1").mkdir(parents=True)
    (folder / "log.txt").write_text("x")
    (folder / "link").symlink_to(outside)
    assert remove_results(folder) == 3
    table.accepted("a").log.append("expired", n_removed=3)
    assert sorted(p.name for p in folder.iterdir()) == ["events.jsonl", "job.json"]
    assert (outside / "photograph").exists()
    reborn = JobTable(tmp_path)
    reborn.refresh()
    assert reborn.show("a").record.expired
    assert reborn.show("a").record.state is JobState.SUCCEEDED
    job = parse_job({"op": "train", "scene": "/s", "job_id": "a"})
    assert reborn.submit(job, "kafka").state is JobState.SUCCEEDED
    assert gone(reborn, 7, [], later(8)) == []


def test_a_job_of_earlier_defaults_is_still_the_same_job(tmp_path):
    job = parse_job({"op": "train", "scene": "/s", "job_id": "a"})
    accept_job(job, tmp_path, "kafka")
    record = tmp_path / "a" / "job.json"
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert JobTable(tmp_path).submit(job, "kafka").state is JobState.QUEUED


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_goes_on_is_never_removed(tmp_path, state):
    assert gone(table_with(tmp_path, a=state), 0.001, [], later(9)) == []


@pytest.mark.parametrize("place", ["{0}/x/../a", "file://{0}/a/checkpoints", "{0}/link"])
def test_a_place_is_the_same_however_it_is_written(tmp_path, place):
    table = table_with(tmp_path, a=JobState.SUCCEEDED)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "checkpoints")
    assert gone(table, 7, [place.format(tmp_path)], later(8)) == []


def test_a_film_starts_from_two_checkpoints_and_a_path():
    films = {"op": "video", "checkpoint_path": "/out/b", "layer": "before_after"}
    job = parse_job({**films, "before_checkpoint_path": "/out/a", "camera_path": "/out/c/path.json"})
    assert sorted(starts(job).values()) == ["/out/a", "/out/b", "/out/c/path.json"]
    assert starts(parse_job({"op": "train", "scene": "/s"})) == {}

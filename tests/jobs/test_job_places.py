"""Where a message may send a job, and where the checkpoints of a job are found."""

from pathlib import Path

import pytest

from anerf.checkpoint.location import is_below
from anerf.errors import JobError
from anerf.jobs.folder import accept_job
from anerf.jobs.permits import refuse_elsewhere
from anerf.jobs.places import checkpoints_root, followed
from anerf.jobs.spec import Job, parse_job

HERE = "s3://surveys/2026?region=eu-central-1"
ELSEWHERE = "s3://surveys/2026?region=eu-central-1&endpoint_override=evil.example.org"


def job(**fields: object) -> Job:
    return parse_job({"op": "eval", "job_id": "a", "scene": "/s", "checkpoint_path": "/c", **fields})


@pytest.mark.parametrize(
    ("place", "root", "inside"),
    [
        ("s3://surveys/2026/a?region=eu-central-1", HERE, True),
        (HERE, HERE, True),
        ("s3://surveys/2026?region=eu-central-1", "s3://surveys?region=eu-central-1", True),
        ("s3://surveys/20261?region=eu-central-1", HERE, False),
        ("s3://surveys?region=eu-central-1", HERE, False),
        ("s3://surveys/2026/../x?region=eu-central-1", HERE, False),
        ("s3://other/2026?region=eu-central-1", HERE, False),
        ("gs://surveys/2026?region=eu-central-1", HERE, False),
        ("s3://surveys/2026", HERE, False),
        (ELSEWHERE, HERE, False),
        ("/mnt/large/x", "/mnt/large", True),
        ("file:///mnt/large/x", "/mnt/large", True),
        ("/mnt/larger", "/mnt/large", False),
        ("/mnt/large/../x", "/mnt/large", False),
        ("/surveys/2026", HERE, False),
        (HERE, "/", False),
    ],
)
def test_a_place_is_allowed_in_the_same_store_asked_in_the_same_way(place, root, inside):
    assert is_below(place, root) is inside


def test_a_link_does_not_lead_out(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "out").symlink_to(tmp_path)
    (tmp_path / "large" / "round").symlink_to(tmp_path / "large" / "round")
    assert not is_below(str(tmp_path / "large" / "out" / "x"), str(tmp_path / "large"))
    assert is_below(str(tmp_path / "large" / "round" / "x"), str(tmp_path / "large"))


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint_root": "/tmp/x"},
        {"checkpoint_root": HERE},
        {"checkpoint_path": HERE},
        {"op": "video", "layer": "before_after", "before_checkpoint_path": HERE},
    ],
)
def test_a_message_may_name_no_place_that_nobody_allowed(fields):
    field = list(fields)[-1]
    with pytest.raises(JobError, match=f"`{field}` is .*--storage"):
        refuse_elsewhere(job(**fields), [])
    with pytest.raises(JobError, match=field):
        refuse_elsewhere(job(**fields), [ELSEWHERE, "/mnt"])
    refuse_elsewhere(job(**fields), ["/tmp", HERE])


def test_a_message_may_start_from_local_checkpoints():
    refuse_elsewhere(job(), [])
    refuse_elsewhere(job(checkpoint_path="file:///c"), [])


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hush-hush@bucket/x",
        "s3://hush-hush@bucket/x",
        "s3://bucket/x?access_key=hush-hush",
        "s3://bucket/x?endpoint_override=http://key:hush-hush@host",
        "abfss://container:hush-hush@account.dfs.core.windows.net/x",
        "s3://bucket/../hush-hush",
        "s3://bucket/%2e%2e/hush-hush",
        "s3://bucket/x#hush-hush",
        "s3://[hush-hush/x",
    ],
)
@pytest.mark.parametrize("field", ["checkpoint_root", "checkpoint_path", "scene"])
def test_keys_and_tricks_are_refused_and_not_shown(uri, field):
    with pytest.raises(JobError, match=f"`{field}` ") as refusal:
        job(**{field: uri})
    assert "hush-hush" not in str(refusal.value)


def test_a_container_before_the_at_sign_is_no_key():
    assert job(checkpoint_path="abfss://container@account.dfs.core.windows.net/x").checkpoint_path


def test_checkpoints_are_found_from_the_jobs_folder(tmp_path):
    remote = accept_job(job(checkpoint_root=HERE), tmp_path, "run").folder
    assert checkpoints_root(job(checkpoint_root=HERE), str(remote)) == (
        "s3://surveys/2026/a?region=eu-central-1"
    )
    assert followed(str(remote)) == "s3://surveys/2026/a?region=eu-central-1"
    local = accept_job(job(), tmp_path / "other", "run").folder
    assert checkpoints_root(job(), str(local)) == str(local / "checkpoints")
    assert followed(str(local)) == str(local)
    copied = Path(tmp_path / "copied")
    (copied / "checkpoints").mkdir(parents=True)
    (copied / "job.json").write_text("of another job")
    assert followed(str(copied)) == str(copied)
    assert followed(HERE) == HERE


def test_relative_places_start_where_the_job_does(tmp_path):
    resolved = job(checkpoint_root="out", checkpoint_path=HERE).resolved(tmp_path)
    assert (resolved.checkpoint_root, resolved.checkpoint_path) == (str(tmp_path / "out"), HERE)

"""What a job message may say, and what is said back when it may not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import JobError
from anerf.jobs.message import MAX_MESSAGE_BYTES
from anerf.jobs.spec import EvalJob, TrainJob, VideoJob, ViewJob, fingerprint, parse_job

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAIN = {"op": "train", "scene": "scenes/block"}
EVAL = {"op": "eval", "scene": "scenes/block", "checkpoint_path": "logs/a"}


def refusal(message: bytes | str | dict) -> str:
    with pytest.raises(JobError) as caught:
        parse_job(message)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "model"), [("train", TrainJob), ("eval", EvalJob), ("view", ViewJob), ("video", VideoJob)]
)
def test_the_older_systems_job_files_parse(name, model):
    job = parse_job((CONFIGS / f"{name}.json").read_bytes())
    assert isinstance(job, model)
    assert job.scene_path() == Path("data/drz/out/drz")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_config_parses(path):
    parse_job(path.read_bytes())


def test_defaults_are_those_of_the_field_table():
    job = parse_job(TRAIN)
    assert isinstance(job, TrainJob)
    assert (job.ray_samples, job.batch_size, job.support_rays, job.query_rays) == (96, 3, 4000, 2000)
    assert (job.outer_steps, job.inner_iter, job.inner_lr, job.algo) == (20_000, 8, 0.015, "plain")
    assert (job.lr, job.encoding_lr, job.sigma_lr, job.color_lr, job.bg_lr) == (1e-4, 1e-2, 2e-3, 2e-3, 1e-3)
    assert parse_job({"op": "view", "checkpoint_path": "logs/a"}).ray_samples == 64


@pytest.mark.parametrize(
    ("given_tto", "steps"),
    [("16", (16,)), ("1,4,16", (1, 4, 16)), (8, (8,)), ([2, 4], (2, 4)), ("1, 2", (1, 2))],
)
def test_tto_is_a_number_or_a_list_of_them(given_tto, steps):
    job = parse_job({**EVAL, "tto": given_tto})
    assert isinstance(job, EvalJob)
    assert job.tto == steps


@pytest.mark.parametrize(
    ("given_seconds", "seconds"), [(10, (10.0,)), ("10, 30", (10.0, 30.0)), ([0.5], (0.5,)), (None, None)]
)
def test_seconds_of_adapting_are_a_number_or_a_list_of_them(given_seconds, seconds):
    job = parse_job({**EVAL, "tto_seconds": given_seconds})
    assert isinstance(job, EvalJob)
    assert job.tto_seconds == seconds


@pytest.mark.parametrize("wrong", [0, -1, "soon", True, [], [10, None], "10,", 1e9, {"s": 1}])
def test_other_seconds_are_refused(wrong):
    with pytest.raises(JobError, match=r"`tto_seconds` is .*give seconds above 0 and up to a day"):
        parse_job({**EVAL, "tto_seconds": wrong})


def test_steps_and_seconds_are_not_given_together():
    with pytest.raises(JobError, match="`tto` and `tto_seconds` are both given"):
        parse_job({**EVAL, "tto": 4, "tto_seconds": 4})


def test_max_res_is_another_name_of_max_resolution():
    job = parse_job({**TRAIN, "max_res": 2048})
    assert isinstance(job, TrainJob)
    assert job.max_resolution == 2048
    assert "two names of one field" in refusal({**TRAIN, "max_res": 2048, "max_resolution": 4096})


def test_a_whole_number_may_be_written_as_a_float_and_a_part_of_one_may_not():
    job = parse_job({**TRAIN, "outer_steps": 2e4})
    assert isinstance(job, TrainJob)
    assert job.outer_steps == 20_000
    assert "`outer_steps` is 2.5, give" in refusal({**TRAIN, "outer_steps": 2.5})


def test_fields_of_another_kind_of_job_are_accepted_and_named():
    job = parse_job({**EVAL, "outer_steps": 5, "cell_dim": 3})
    assert job.ignored == ("cell_dim", "outer_steps")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"downscal": 0.5}, "`downscal` is not a known field, did you mean `downscale`?"),
        ({"lr": "fast"}, '`lr` is "fast", give a number'),
        ({"lr": "0.1"}, '`lr` is "0.1", give a number'),
        ({"outer_steps": True}, "`outer_steps` is true, give a whole number"),
        ({"use_amp": 1}, "`use_amp` is 1, give true or false"),
        ({"downscale": 2}, "`downscale` is 2, give at most 1"),
        ({"downscale": 0}, "`downscale` is 0, give a number above 0"),
        ({"algo": "sgd"}, "`algo` is \"sgd\", give one of 'plain', 'maml', 'fomaml' or 'reptile'"),
        ({"prefix": "newest"}, '`prefix` is "newest", give best, last or step<number>'),
        ({"job_id": "../etc"}, '`job_id` is "../etc", give 1 to 100 letters'),
        ({"job_id": "a" * 101}, "give 1 to 100 letters"),
        ({"scene": "a\x00b"}, "give a text without control characters"),
        ({"scene": "\ud800"}, "give a text without control characters"),
        ({"near": 5, "far": 3}, "`near` is 5.0 and `far` is 3.0"),
        ({"seed": -1}, "`seed` is -1, give at least 0"),
        ({"seed": 10**30}, "give at most 4294967295"),
        ({"op": "film"}, "`op` is \"film\", give one of 'train', 'eval', 'view' or 'video'"),
        ({"op": ["train"]}, "`op` is a list of 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_the_remedy(change, sentence):
    assert sentence in refusal({**TRAIN, **change})


VIDEO = {"op": "video", "checkpoint_path": "logs/a"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"camera_path": "orbit"}, '`camera_path` is "orbit", give one of spiral_in, turntable'),
        ({"width": 641}, "`width` is 641, give an even number"),
        ({"height": 4000}, "give at most 2160"),
        ({"layer": "before_after"}, "`before_checkpoint_path` is missing"),
        ({"fps": 0}, "give at least 1"),
        ({"checkpoint_path": None}, "`checkpoint_path` is missing"),
    ],
)
def test_a_wrong_field_of_a_video_is_named(change, sentence):
    assert sentence in refusal({**VIDEO, **change})


def test_paths_of_a_video_start_where_the_others_do():
    given = {**VIDEO, "camera_path": "paths/a.json", "layer": "before_after", "before_checkpoint_path": "b"}
    job = parse_job(given).resolved(Path("/base"))
    assert (job.checkpoint_path, job.camera_path) == ("/base/logs/a", "/base/paths/a.json")
    assert job.before_checkpoint_path == "/base/b"
    canned = parse_job({**VIDEO, "camera_path": "turntable"}).resolved(Path("/base"))
    assert (canned.camera_path, canned.before_checkpoint_path) == ("turntable", None)


def test_all_problems_stand_in_one_sentence():
    text = refusal({**TRAIN, "lr": "x", "downscal": 1})
    assert text.startswith("the job message has 2 problems: ")
    assert "\n" not in text


def test_a_missing_op_is_named_when_the_rest_does_not_make_a_job():
    assert "`op` is missing and was read as train" in refusal({"lr": "x"})
    assert isinstance(parse_job({"scene": "s"}), TrainJob)


def test_what_a_job_cannot_do_without_is_asked_for():
    assert "`scene` is missing" in refusal({"op": "train"})
    assert "`checkpoint_path` is missing" in refusal({"op": "view"})
    assert "`scene` is missing" in refusal({"op": "eval", "checkpoint_path": "logs/a"})
    parse_job({"op": "eval", "checkpoint_path": "logs/a", "use_stored_args": True})


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (b"", "is not JSON"),
        (b"[1, 2]", "is a list of 2, not a JSON object"),
        (b"null", "is null, not a JSON object"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0 is 0xff)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b'{"scene": "a", "scene": "b"}', "gives `scene` twice"),
        (b'{"scene": "a", "lr": NaN}', "holds NaN"),
        (b'{"scene": "a", "lr": -Infinity}', "holds -Infinity"),
        (b'{"scene": "a", "lr": 1e999}', "`lr` is Infinity, give a finite number"),
        (b'{"scene": "a", "seed": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "at most 1048576 are taken"),
    ],
)
def test_what_is_no_json_object_is_refused_in_a_sentence(message, sentence):
    assert sentence in refusal(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    sorted(
        {
            *TrainJob.model_fields,
            *EvalJob.model_fields,
            *ViewJob.model_fields,
            *VideoJob.model_fields,
            "max_res",
        }
    )
)


@given(st.binary(max_size=200))
def test_no_bytes_bring_it_down(message):
    with pytest.raises(JobError):
        parse_job(message)


@given(
    st.dictionaries(FIELDS | st.text(), JSON, max_size=6), st.sampled_from(["train", "eval", "view", "video"])
)
def test_no_values_bring_it_down(fields, op):
    message = json.dumps({"scene": "s", "checkpoint_path": "c", "op": op, **fields})
    try:
        job = parse_job(message)
    except JobError as error:
        text = str(error)
    else:
        text = ""
        assert parse_job(job.given()).given() == job.given()
    assert "\n" not in text


@given(st.text(max_size=30))
def test_a_job_id_never_leaves_its_folder(job_id):
    try:
        job = parse_job({**TRAIN, "job_id": job_id})
    except JobError:
        return
    assert Path("/out", job.job_id).resolve().parent == Path("/out")


def test_given_settings_come_back_and_nothing_else():
    job = parse_job({**EVAL, "job_id": "e", "tto": "1,4", "devices": "0,1", "lr": 0.5})
    assert job.given() == {**EVAL, "job_id": "e", "tto": [1, 4], "devices": [0, 1], "lr": 0.5}
    assert parse_job(job.given()) == job


def test_the_fingerprint_is_that_of_the_settings():
    plain = parse_job({**TRAIN, "job_id": "a"})
    assert fingerprint(plain) == fingerprint(parse_job({**TRAIN, "job_id": "b", "ray_samples": 96}))
    assert fingerprint(plain) != fingerprint(parse_job({**TRAIN, "job_id": "a", "ray_samples": 97}))


def test_a_made_up_id_is_the_same_for_the_same_mark():
    first, again = parse_job(TRAIN, made_up_from="topic/0/7"), parse_job(TRAIN, made_up_from="topic/0/7")
    assert first.job_id == again.job_id
    assert first.job_id != parse_job(TRAIN, made_up_from="topic/0/8").job_id
    assert parse_job(TRAIN).job_id != parse_job(TRAIN).job_id


def test_relative_paths_start_at_the_base_and_uris_stay():
    base = Path("/work/place")
    job = parse_job({**EVAL, "checkpoint_path": "s3://bucket/a"}).resolved(base)
    assert (job.scene, job.checkpoint_path) == ("/work/place/scenes/block", "s3://bucket/a")
    old = parse_job({"data_path": "data/drz/", "data_dirname": "drz"}).resolved(base)
    assert old.scene_path() == Path("/work/place/data/drz/out/drz")
    absolute = parse_job({**TRAIN, "scene": "/elsewhere/s"})
    assert absolute.resolved(base) == absolute


def test_stored_settings_fill_in_what_the_job_does_not_give():
    job = parse_job({**EVAL, "use_stored_args": True, "lr": 0.5})
    stored = parse_job({**TRAIN, "lr": 0.1, "ray_samples": 20, "prefix": "last", "outer_steps": 7}).given()
    merged = job.with_stored(stored)
    assert (merged.lr, merged.ray_samples, merged.prefix, merged.job_id) == (0.5, 20, "best", job.job_id)

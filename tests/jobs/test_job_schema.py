"""The schema takes what the parser takes, and its examples are true."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from anerf.errors import JobError
from anerf.jobs.asyncapi import asyncapi_document
from anerf.jobs.folder import accept_job
from anerf.jobs.news_schema import dead_letter_schema, event_schema, status_schema
from anerf.jobs.schema import job_schema
from anerf.jobs.spec import EvalJob, TrainJob, VideoJob, ViewJob, parse_job

ROOT = Path(__file__).resolve().parents[2]
JOB = Draft202012Validator(job_schema())
TRAIN = {"op": "train", "scene": "s"}
EVAL = {"op": "eval", "scene": "s", "checkpoint_path": "c"}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.json")), ids=lambda path: path.stem)
def test_every_config_is_valid(path):
    JOB.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("schema", [job_schema, event_schema, status_schema, dead_letter_schema])
def test_schemas_are_schemas_and_their_examples_valid(schema):
    Draft202012Validator.check_schema(schema())
    assert schema()["examples"]
    for example in schema()["examples"]:
        Draft202012Validator(schema()).validate(example)


def test_examples_are_jobs():
    for example in job_schema()["examples"]:
        parse_job(example)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {**TRAIN, "op": "video"},
        {**TRAIN, "downscal": 1},
        {**TRAIN, "downscale": 2},
        {**TRAIN, "outer_steps": 0},
        {**TRAIN, "outer_steps": 2.5},
        {**TRAIN, "lr": "0.1"},
        {**TRAIN, "job_id": "../etc"},
        {**TRAIN, "scene": "a\nb"},
        {**TRAIN, "bg_color_default": [0, 0, 2]},
        {**TRAIN, "devices": "every"},
        {**TRAIN, "max_res": 1},
        {"op": "eval", "scene": "s"},
        {"op": "eval", "checkpoint_path": "c"},
        {"op": "eval", "scene": None, "checkpoint_path": "c"},
        {"op": "view"},
        {"op": "video"},
        {"op": "video", "checkpoint_path": "c", "camera_path": "orbit"},
        {**EVAL, "tto": "soon"},
        {**EVAL, "tto_seconds": 0},
        {**EVAL, "prefix": "newest"},
        [],
    ],
)
def test_what_is_no_job_is_not_valid_either(wrong):
    assert not JOB.is_valid(wrong)
    with pytest.raises(JobError):
        parse_job(json.dumps(wrong))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5000),
    st.integers(0, 5000).map(float),
    st.floats(0, 2),
    st.sampled_from(
        [
            "all",
            "turntable",
            "a.json",
            "0,1",
            "1, 4",
            "16",
            "best",
            "step7",
            "linear",
            "march",
            "white",
            "a b",
            "é",
            "10.5",
        ]
    ),
    st.lists(st.sampled_from([0, 1, 0.5, "2"]), max_size=3),
)
FIELDS = sorted(
    {*TrainJob.model_fields, *EvalJob.model_fields, *ViewJob.model_fields, *VideoJob.model_fields, "max_res"}
)


@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    st.sampled_from(["train", "eval", "view", "video", None]),
)
def test_whatever_the_parser_takes_is_valid(fields, op):
    message = {"scene": "s", "checkpoint_path": "c", **fields, **({} if op is None else {"op": op})}
    if op is None:
        message.pop("op", None)
    try:
        job = parse_job(json.dumps(message))
    except JobError:
        return
    JOB.validate(message)
    JOB.validate(job.given())


def test_a_jobs_own_events_are_valid(tmp_path):
    log = accept_job(parse_job({**TRAIN, "job_id": "a", "tto": 4}), tmp_path, "kafka").log
    log.append("progress", step=1, of_steps=2, loss=0.5)
    log.append("something_new", weight=1)
    for event in log.read()[0]:
        Draft202012Validator(event_schema()).validate(event)
    assert not Draft202012Validator(event_schema()).is_valid({"at": "x", "job_id": "a", "kind": "state"})


def test_the_kept_asyncapi_file_is_what_the_command_prints():
    code = "import sys, cluster.cli; sys.argv = ['anerf', 'schema', '--asyncapi']; cluster.cli.main()\n"
    code += "assert not {'torch', 'ray', 'confluent_kafka'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept = (ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8")
    assert kept == done.stdout, "`anerf schema --asyncapi > docs/asyncapi.json` writes it anew"


def test_the_asyncapi_document_holds_together():
    document = asyncapi_document()

    def resolve(ref):
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        return node

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                resolve(node["$ref"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    assert {channel["address"] for channel in document["channels"].values()} == {
        "nerfConfigs",
        "nerfStatus",
        "nerfConfigs.dlq",
    }
    assert len(document["operations"]) == 3
    for message in document["components"]["messages"].values():
        assert message["examples"]
        for example in message["examples"]:
            for part in ("headers", "payload"):
                if part in message:
                    schema = {**message[part], "components": document["components"]}
                    Draft202012Validator(schema).validate(example[part])

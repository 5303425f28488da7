"""Headers of job messages, and the first look at a message as a whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import JobError
from anerf.jobs.folder import JOB_FILE, accept_job, read_accepted_job, trace_of_job
from anerf.jobs.headers import JobHeaders, is_traceparent, message_headers, read_headers
from anerf.jobs.intake import examine
from anerf.jobs.message import MAX_MESSAGE_BYTES, MAX_PROBLEMS
from anerf.jobs.spec import parse_job

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
JOB = b'{"op": "train", "scene": "/s", "job_id": "a"}'


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (TRACE, True),
        ("cc" + TRACE[2:], True),
        ("cc" + TRACE[2:] + "-what-comes-later", True),
        (TRACE + "-more", False),
        ("ff" + TRACE[2:], False),
        (TRACE.upper(), False),
        ("00-" + "0" * 32 + TRACE[35:], False),
        (TRACE[:36] + "0" * 16 + "-01", False),
        (TRACE[:-1], False),
        (TRACE + "\n", False),
        ("cc" + TRACE[2:] + "-" + "x" * 300, False),
        ("", False),
    ],
)
def test_a_trace_context_is_as_w3c_says(text, valid):
    assert is_traceparent(text) is valid


def test_known_headers_are_read_and_others_left_alone():
    assert read_headers([]) == JobHeaders(1, None)
    found = read_headers([("anerf-version", b"1"), ("traceparent", TRACE.encode()), ("else", b"\xff")])
    assert found == JobHeaders(1, TRACE)
    assert read_headers(message_headers(TRACE)) == found


@pytest.mark.parametrize("traces", [[b"nonsense"], [TRACE.encode()] * 2, [None], [b"\xff"]])
def test_a_malformed_trace_costs_no_job(traces, caplog):
    assert read_headers([("traceparent", trace) for trace in traces]).traceparent is None
    assert "is not well-formed: left out" in caplog.text


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (b"2", "is of version 2 (header anerf-version), this anerf reads up to 1: update it"),
        (b"", 'header anerf-version is "": give 1, or leave it out'),
        (b"0", "give 1, or leave it out"),
        (b"one", 'is "one": give 1'),
        (None, "give 1, or leave it out"),
        (b"9" * 5000, "give 1, or leave it out"),
    ],
)
def test_other_versions_are_refused_in_a_sentence(version, sentence):
    with pytest.raises(JobError) as caught:
        examine(JOB, [("anerf-version", version)])
    assert sentence in str(caught.value)


def test_a_trace_goes_with_the_job(tmp_path):
    job, headers = examine(JOB, [("traceparent", TRACE.encode())])
    folder = accept_job(job, tmp_path, "kafka", headers.traceparent).folder
    assert read_accepted_job(folder).traceparent == TRACE
    assert trace_of_job(folder) == TRACE.split("-")[1]
    assert read_accepted_job(folder).log.read()[0][0]["traceparent"] == TRACE
    untraced = accept_job(parse_job({**json.loads(JOB), "job_id": "b"}), tmp_path, "kafka").folder
    assert "traceparent" not in json.loads((untraced / JOB_FILE).read_text())
    assert trace_of_job(untraced) is None


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["anerf-version", "traceparent", "x", ""]),
        st.none() | st.binary(max_size=70) | st.sampled_from([b"1", TRACE.encode()]),
    ),
    max_size=4,
)


@given(st.none() | st.binary(max_size=100) | st.just(JOB), HEADERS)
def test_nothing_but_a_sentence_comes_of_garbage(value, headers):
    reason = ""
    try:
        job, _ = examine(value, headers, "mark")
    except JobError as error:
        reason = str(error)
    else:
        assert job.job_id == "a"
    assert "\n" not in reason
    assert len(reason) < 5000


def test_very_many_problems_are_told_in_one_short_sentence():
    many = json.dumps({f"k{i}": i for i in range(60_000)})
    assert MAX_MESSAGE_BYTES * 0.9 < len(many) < MAX_MESSAGE_BYTES
    with pytest.raises(JobError) as caught:
        examine(many.encode())
    assert "has 60002 problems" in str(caught.value)
    assert str(caught.value).endswith(f"and {60_002 - MAX_PROBLEMS} more")

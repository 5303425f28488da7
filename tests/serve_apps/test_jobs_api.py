"""Jobs over HTTP, in front of a real job table."""

import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anerf.errors import JobError, QueueFull
from anerf.jobs.news_schema import status_schema
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable, SubmitResult
from serve_apps.jobs_api import MediatorAway, create_jobs_api
from tests.serve_apps.endpoint import HERE

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TableJobs:
    """What the Mediator does, on a table of our own."""

    def __init__(self, out: Path, room: int = 1000) -> None:
        self.table, self.room, self.away = JobTable(out), room, False

    async def submit(self, raw, traceparent):
        if self.away:
            raise MediatorAway("the Mediator does not answer: try again")
        try:
            job = parse_job(raw)
        except JobError as error:
            return SubmitResult(None, JobState.REJECTED, str(error))
        if self.table.n_queued() >= self.room and not self.table.is_known(job.job_id):
            raise QueueFull("too many wait")
        return self.table.submit(job, "kafka", traceparent)

    async def list(self):
        return self.table.summaries()

    async def show(self, job_id):
        return self.table.show(job_id)

    async def cancel(self, job_id):
        if self.table.show(job_id).record.state is JobState.QUEUED:
            self.table.change(job_id, JobState.CANCELLED)
        return self.table.show(job_id)

    async def events(self, job_id, from_byte):
        return self.table.accepted(job_id).log.read(from_byte)

    async def log_text(self, job_id, from_byte):
        return (self.table.accepted(job_id).folder / "log.txt").read_text()[from_byte:], 9


@pytest.fixture
def jobs(tmp_path):
    return TableJobs(tmp_path / "logs")


@pytest.fixture
def client(jobs):
    return TestClient(create_jobs_api(jobs), HERE, raise_server_exceptions=False)


def send(client, job_id="a", **fields):
    return client.post("/", json={"op": "train", "scene": "/s", "job_id": job_id, **fields})


def sse(text):
    """Server-sent events: (id or None, kind, content)."""
    found = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields.get("id"), fields["event"], json.loads(fields["data"])))
    return found


def test_a_job_is_new_then_known_then_another(client):
    first = send(client)
    assert (first.status_code, first.json()["state"]) == (202, "QUEUED")
    assert first.headers["location"].endswith("/a")
    assert send(client).status_code == 200
    other = send(client, seed=7)
    assert other.status_code == 409
    assert "give this one another `job_id`" in other.json()["error"]


def test_what_is_no_job_is_told_why(client):
    refused = send(client, outer_stepps=3)
    assert refused.status_code == 422
    assert "did you mean `outer_steps`?" in refused.json()["error"]
    assert client.post("/", content=b"\xff\x00").status_code == 422
    assert client.post("/", content=b"x" * (2 << 20)).status_code == 413
    assert client.post("/", content=(chunk for chunk in [b"{}"])).status_code == 411


def test_a_full_queue_and_a_mediator_that_is_away_say_when_to_come_again(client, jobs):
    send(client)
    jobs.room = 1
    full = send(client, "b")
    assert (full.status_code, full.headers["retry-after"]) == (429, "10")
    assert send(client).status_code == 200, "a known job needs no room"
    jobs.away = True
    away = send(client, "c")
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")


def test_the_trace_of_a_request_is_kept_if_it_is_one(client, jobs):
    body = {"op": "train", "scene": "/s"}
    client.post("/", json={**body, "job_id": "a"}, headers={"traceparent": TRACE})
    client.post("/", json={**body, "job_id": "b"}, headers={"traceparent": "nonsense"})
    assert jobs.table.show("a").traceparent == TRACE
    assert jobs.table.show("b").traceparent is None


def test_pages_of_jobs_are_complete_and_do_not_overlap(client):
    for n in range(7):
        send(client, f"j{n}")
    client.delete("/j3")
    seen, after = [], None
    while True:
        query = {"limit": 3, "newest": False, **({"after": after} if after else {})}
        page = client.get("/", params=query).json()
        seen += [job["job_id"] for job in page["jobs"]]
        if (after := page["next"]) is None:
            break
    assert seen == [f"j{n}" for n in range(7)]
    assert [job["job_id"] for job in client.get("/", params={"state": "CANCELLED"}).json()["jobs"]] == ["j3"]
    assert client.get("/", params={"op": "view"}).json() == {"jobs": [], "next": None}
    assert client.get("/", params={"limit": 0}).status_code == 422
    assert client.get("/", params={"after": "nobody"}).status_code == 404


def test_a_job_is_shown_as_on_the_status_topic(client):
    send(client)
    shown = client.get("/a").json()
    assert set(status_schema()["required"]) - {"event"} <= set(shown)


def test_cancelling_twice_is_harmless(client):
    send(client)
    assert [client.delete("/a").status_code for _ in range(2)] == [200, 200]
    assert client.get("/a").json()["state"] == "CANCELLED"


@pytest.mark.parametrize(
    "path", ["/nobody", "/nobody/log", "/nobody/events", "/..%2f..%2fetc%2fpasswd", "/%00"]
)
def test_a_job_that_is_not_there_is_not_found(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_events_come_to_the_end_and_a_reader_goes_on_where_it_was(client, jobs):
    send(client)
    jobs.table.change("a", JobState.RUNNING, attempt=1)
    jobs.table.accepted("a").log.append("progress", step=1, of_steps=2, loss=float("nan"))
    so_far = client.get("/a/events", params={"follow": False}).text.splitlines()
    assert [json.loads(line)["kind"] for line in so_far] == ["accepted", "state", "state", "progress"]
    jobs.table.change("a", JobState.SUCCEEDED)
    events = sse(client.get("/a/events").text)
    assert [kind for _, kind, _ in events] == ["accepted", "state", "state", "progress", "state"]
    assert events[3][2]["loss"] is None
    assert events[-1][2]["state"] == "SUCCEEDED"
    last = events[-1][0]
    assert int(last) == (jobs.table.out / "a" / "events.jsonl").stat().st_size
    assert client.get("/a/events", headers={"last-event-id": last}).text == ""


@pytest.mark.parametrize("place", [-1, 10**12, 10**15, 2**62, 10**19])
def test_a_place_in_a_log_that_no_file_has_is_refused(client, place):
    send(client)
    refused = client.get("/a/log", params={"from_byte": place})
    assert (refused.status_code, "`from_byte`" in refused.json()["error"]) == (422, True)


def test_events_after_a_place_that_no_diary_has_are_all_or_none(client):
    send(client)
    seen = [
        len(client.get("/a/events", params={"follow": False}, headers={"last-event-id": place}).text)
        for place in ("0", "9" * 12, "9" * 13, "9" * 15, "9" * 20)
    ]
    assert seen == [seen[0], 0, seen[0], seen[0], seen[0]]
    assert seen[0] > 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=80).map(lambda text: json.dumps({"job_id": text, "op": text}).encode())
)
def test_whatever_is_sent_is_answered_with_a_sentence(client, jobs, body):
    answer = client.post("/", content=body)
    assert 400 <= answer.status_code < 500
    assert set(answer.json()) == {"error"}
    assert not jobs.table.out.exists()


PARTS = st.sampled_from(
    ["..", ".", "/", "\\", "a", "beside", "\0", "~", "%2e%2e", "%2f", "%", "．．", "?", "#", ""]
)
PATHS = st.lists(PARTS, max_size=6).map("".join) | st.text(max_size=20)
PATH_FIELDS = st.sampled_from(
    ["scene", "data_path", "data_dirname", "mask_dirname", "checkpoint_path", "prefix"]
)


@settings(max_examples=60)
@given(
    job_id=PATHS,
    fields=st.dictionaries(PATH_FIELDS, PATHS, max_size=3),
    op=st.sampled_from(["train", "view"]),
)
def test_nothing_is_written_outside_the_jobs_folder(job_id, fields, op):
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "deep" / "out"
        client = TestClient(create_jobs_api(TableJobs(out)), HERE, raise_server_exceptions=False)
        message = {"op": op, "scene": "/s", "checkpoint_path": "/c", "job_id": job_id, **fields}
        answer = client.post("/", json=message)
        written = {path for path in Path(place).rglob("*") if path not in (out.parent, out)}
        if answer.status_code == 422:
            assert not written
        else:
            assert answer.status_code == 202
            folder = out / job_id
            assert folder.resolve().parent == out.resolve()
            assert written == {folder, folder / "job.json", folder / "events.jsonl"}


@settings(max_examples=60)
@given(
    way=st.lists(PARTS, max_size=6).map("".join),
    method=st.sampled_from(["GET", "DELETE"]),
    rest=st.sampled_from(["", "/log", "/events", "/events?follow=false"]),
    encoded=st.booleans(),
)
def test_nothing_is_read_or_cancelled_beside_the_output_root(way, method, rest, encoded):
    with tempfile.TemporaryDirectory() as place:
        beside = JobTable(Path(place))
        beside.submit(parse_job({"op": "train", "scene": "secret", "job_id": "beside"}), "kafka")
        (Path(place) / "beside" / "log.txt").write_text("secret")
        before = beside.show("beside")
        api = create_jobs_api(TableJobs(Path(place) / "out"))
        client = TestClient(api, HERE, raise_server_exceptions=False)
        job_id = quote(way + "beside", safe="" if encoded else "/\\?#%~")
        answer = client.request(method, f"/{job_id.lstrip('/')}{rest}", follow_redirects=False)
        assert answer.status_code in (200, 404, 405, 307, 422)
        assert "secret" not in answer.text
        assert answer.status_code != 200 or answer.json() == {"jobs": [], "next": None}
        beside.refresh()
        assert beside.show("beside") == before

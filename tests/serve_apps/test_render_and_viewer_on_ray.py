"""The endpoint on a real Ray Serve, and the viewer's actor on a real Ray. Run these on loopback."""

import contextlib
import io
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pyarrow as pa
import pytest

from actors.names import JOB_PREFIX, NAMESPACE
from anerf.errors import CheckpointError, JobCancelled
from anerf.jobs.folder import accept_job
from anerf.jobs.spec import parse_job
from serve_apps.front import CALLBACK, CALLBACK_VARIABLE
from tests.ray_place import ray_of_our_own
from tests.stack_place import wait_for

pytestmark = pytest.mark.integration
LOAD_S = float(os.environ.get("LOAD_SECONDS", "15"))


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CALLBACK_VARIABLE, CALLBACK)
        with ray_of_our_own(_system_config={"metrics_report_interval_ms": 1000}) as ray:
            yield ray


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _pictures_told(ray: Any, enough: int) -> int:
    """How many pictures Prometheus would read that the endpoint has made, after a while."""
    (node,) = ray.nodes()
    url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 15
    told = 0.0
    while told < enough and time.monotonic() < deadline:
        time.sleep(0.3)
        lines = httpx.get(url, timeout=10).text.splitlines()
        counts = [line for line in lines if line.startswith("ray_anerf_render_seconds_count")]
        told = sum(float(line.rpartition(" ")[2]) for line in counts)
    return int(told)


def test_render_endpoint_on_serve(ray_here: Any, out_root: Path, down: list[list[float]]) -> None:
    from ray import serve

    from serve_apps.render import build_app

    port = _free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(build_app(str(out_root)), name="render", route_prefix="/")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.get("/healthz").json()["rendered"].startswith("demo, step 200")
            assert client.get("/scenes").json()[0]["checkpoint"] == "demo"
            assert "/render" in client.get("/openapi.json").json()["paths"]
            body = {
                "checkpoint": "demo",
                "prefix": "last",
                "c2w": down,
                "width": 64,
                "height": 48,
                "samples": 8,
            }
            answer = client.post("/render", json={**body, "format": "npy"})
            assert answer.status_code == 200, answer.text
            assert np.load(io.BytesIO(answer.content), allow_pickle=False).shape == (48, 64, 3)
            assert client.post("/render", json={**body, "checkpoint": "../x"}).status_code == 403
            assert client.post("/render", json={**body, "widht": 1}).status_code == 422
            assert client.post("/render", content=b" " * 200_000).status_code == 413
            seconds = []
            for _ in range(10):
                start = time.perf_counter()
                assert client.post("/render", json=body).status_code == 200
                seconds.append(time.perf_counter() - start)
            assert sorted(seconds)[5] < 2
            assert _pictures_told(ray_here, enough=11) == 11, "those that were refused do not count"
            _rays_and_places(client, down)
            _stops_what_nobody_waits_for(client, body)
            _goes_on_beside_those_who_wait_for_a_job(ray_here, client, out_root, body)
            _stands_a_crowd(client, {**body, "width": 320, "height": 240, "samples": 32})
            assert client.get("/healthz").json()["status"] == "ok"
    finally:
        serve.shutdown()


def _rays_and_places(client: httpx.Client, down: list[list[float]]) -> None:
    ray = np.float32([0, 0, 60, 0, 0, -1])
    rays = np.tile(ray, (70_000, 1)).tobytes()
    answer = client.post("/rays", params={"checkpoint": "demo", "prefix": "last", "samples": 4}, content=rays)
    with pa.ipc.open_stream(answer.content) as stream:
        assert [len(batch) for batch in stream] == [65_536, 70_000 - 65_536]
    view = {"checkpoint": "demo", "prefix": "last", "c2w": down, "width": 64, "height": 48}
    (place,) = client.post("/pick", json={**view, "pixels": [[32, 24]]}).json()["places"]
    assert abs(place["latitude_deg"] - 50) < 1e-4
    assert 'anerf_http_requests_total{route="/pick",status="200"} 1.0' in client.get("/metrics").text
    assert client.post("/rays", content=bytes(100 << 20)).status_code in (413, 422)
    assert client.get("/scenes", headers={"host": "evil.example.org"}).status_code == 403


def _stops_what_nobody_waits_for(client: httpx.Client, body: dict[str, Any]) -> None:
    """Neither who wants it too soon nor who goes away leaves work behind."""
    endless = {**body, "width": 1400, "height": 1400, "samples": 256}
    late = client.post("/render", json={**endless, "deadline_s": 1.0})
    assert (late.status_code, "deadline_s" in late.json()["error"]) == (504, True)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/render", json=endless, timeout=1.0)
    start = time.monotonic()
    assert client.post("/render", json=body).status_code == 200
    assert time.monotonic() - start < 10
    wait_for(
        lambda: re.findall(r"^anerf_http_queue (.*)$", client.get("/metrics").text, re.MULTILINE) == ["0.0"]
    )


def _goes_on_beside_those_who_wait_for_a_job(
    ray: Any, client: httpx.Client, out: Path, body: dict[str, Any]
) -> None:
    """Of the eight that the endpoint lets in, seven look at a job that has nothing to show yet."""
    from actors.coordinator import MetaCoordinator

    view = {name: value for name, value in body.items() if name not in ("checkpoint", "prefix")}
    film = {"op": "video", "camera_path": "turntable", "checkpoint_path": str(out / "demo")}
    jobs = []
    for content in ({"op": "train", "job_id": "loads", "scene": "/s"}, {**film, "job_id": "film"}):
        job = accept_job(parse_job(content), out, "run")
        named = {"name": JOB_PREFIX + job.job.job_id, "namespace": NAMESPACE}
        jobs.append(cast(Any, MetaCoordinator).options(**named).remote(str(job.folder)))
    ray.get([job.cancel.remote() for job in jobs])  # they stand, and are not told to run
    with ThreadPoolExecutor(7) as crowd:
        asking = [crowd.submit(client.post, "/render", json={**view, "job": "loads"}) for _ in range(7)]
        time.sleep(0.5)
        assert client.post("/render", json=body).status_code == 200
        assert not any(one.done() for one in asking)
        answer = client.post("/render", json={**view, "job": "film"})
        assert (answer.status_code, "makes a video" in answer.json()["error"]) == (422, True)
        answers = [one.result() for one in asking]
    assert {(a.status_code, a.headers["retry-after"]) for a in answers} == {(503, "2")}
    assert "has nothing to show yet" in answers[0].json()["error"]
    for job in jobs:
        ray.kill(job)


def _stands_a_crowd(client: httpx.Client, body: dict[str, Any]) -> None:
    """Sixteen clients; renderer and endpoint are killed meanwhile: some come again later, all get on."""
    renderer, endpoint = _process("ServeReplica:render:renderer"), _process("ServeReplica:render:render")
    start = time.monotonic()
    answered: list[tuple[float, int]] = []

    def ask() -> None:
        while time.monotonic() - start < LOAD_S:
            answer = client.post("/render", json=body)
            answered.append((time.monotonic() - start, answer.status_code))
            if answer.status_code in (429, 503):
                assert int(answer.headers["retry-after"]) >= 1
                # A patient client would wait as long; this one tries the endpoint's patience.
                time.sleep(0.2)

    with ThreadPoolExecutor(17) as crowd:
        asking = [crowd.submit(ask) for _ in range(16)]
        time.sleep(LOAD_S / 3)
        before = _memory_mb(renderer) + _memory_mb(endpoint)
        os.kill(renderer, signal.SIGKILL)
        time.sleep(LOAD_S / 3)
        os.kill(endpoint, signal.SIGKILL)
        for one in asking:
            one.result()
    statuses = {status for _, status in answered}
    assert {200, 429} <= statuses <= {200, 429, 503}
    refused = [at for at, status in answered if status == 503]
    assert not refused or max(refused) - min(refused) < 5, "only those whose endpoint was killed"
    last_picture = max(at for at, status in answered if status == 200)
    assert last_picture > LOAD_S - 3, "the renderer came back"
    assert _process("ServeReplica:render:renderer") != renderer
    after = sum(_memory_mb(_process(f"ServeReplica:render:{name}")) for name in ("renderer", "render"))
    assert after < before + 300
    counts = {status: sum(1 for _, s in answered if s == status) for status in sorted(statuses)}
    logging.getLogger(__name__).info("answers %s, memory %d to %d MB", counts, before, after)


def _process(title: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Behind the name of an actor may stand that of the method which it is at.
            if re.match(rf"ray::{title}(?![a-z])", (folder / "cmdline").read_text()):
                return int(folder.name)
    raise AssertionError(f"no process {title}")


def _memory_mb(pid: int) -> float:
    (line,) = re.findall(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line) / 1024


def _view_job(out: Path, **changes: Any) -> Path:
    message = {
        "op": "view",
        "job_id": "look",
        "scene": "unused",
        "checkpoint_path": str(out / "demo"),
        "prefix": "last",
        "port": _free_port(),
        "viewer_timeout": 60,
        **changes,
    }
    return accept_job(parse_job(message), out, "run").folder


def _url_of(ray_here: Any, actor: Any) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if url := ray_here.get(actor.status.remote())["url"]:
            return str(url)
        time.sleep(0.1)
    pytest.fail("the viewer did not come up in a minute")


def test_viewer_serves_its_page_until_it_is_cancelled(ray_here: Any, out_root: Path) -> None:
    from actors.viewer import ViewerActor

    job_dir = _view_job(out_root)
    actor = cast(Any, ViewerActor).remote(str(job_dir))
    run = actor.run.remote()
    url = _url_of(ray_here, actor)
    assert url.startswith("http://127.0.0.1:")
    assert "<html" in httpx.get(url, timeout=10).text.lower()
    assert url in (job_dir / "events.jsonl").read_text()
    ray_here.get(actor.cancel.remote())
    with pytest.raises(ray_here.exceptions.RayTaskError) as caught:
        ray_here.get(run, timeout=20)
    assert isinstance(caught.value.cause, JobCancelled)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=5)


def test_viewer_ends_by_itself(ray_here: Any, out_root: Path) -> None:
    from actors.viewer import ViewerActor

    public = "https://viewer.example.org"
    job_dir = _view_job(out_root, viewer_timeout=0.5, public_url=public)
    actor = cast(Any, ViewerActor).remote(str(job_dir))
    summary = ray_here.get(actor.run.remote(), timeout=60)
    assert summary["url"] == public
    assert public in (job_dir / "events.jsonl").read_text()
    assert 0.5 <= summary["open_s"] < 20, "its farewells included"


def test_viewer_of_nothing_says_so(ray_here: Any, out_root: Path) -> None:
    from actors.viewer import ViewerActor

    actor = cast(Any, ViewerActor).remote(str(_view_job(out_root, prefix="step300")))
    with pytest.raises(ray_here.exceptions.RayTaskError) as caught:
        ray_here.get(actor.run.remote(), timeout=60)
    assert isinstance(caught.value.cause, CheckpointError)
    assert "complete are steps 100, 200" in str(caught.value.cause)

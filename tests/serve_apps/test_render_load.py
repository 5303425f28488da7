"""What the endpoint does when there is too much, too large, too late, or nonsense to do."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from prometheus_client.parser import text_string_to_metric_families

from anerf.errors import AnerfError
from serve_apps.admission import Admission, TooBusyError
from serve_apps.service import RenderService
from tests.serve_apps.endpoint import HERE, Endpoint

TOKEN = "0123456789abcdef" * 2
BODY = {"checkpoint": "demo", "prefix": "last", "width": 24, "height": 16, "samples": 4}


class Slow(RenderService):
    """Takes its time, but listens."""

    seconds = 0.3

    def tile(self, source: Any, request: Any, rows: Any, should_stop: Any) -> Any:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not should_stop():
            time.sleep(0.01)
        return super().tile(source, request, rows, lambda: False)


def ask_at_once(endpoint: Endpoint, n: int, body: dict[str, Any]) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(endpoint.api)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, timeout=60) as client:
            return list(await asyncio.gather(*(client.post("/render", json=body) for _ in range(n))))

    return asyncio.run(ask())


def test_what_is_too_much_comes_again_later(out_root: Path, down: Any) -> None:
    endpoint = Endpoint(out_root, Slow(), limit=3)
    answers = ask_at_once(endpoint, 8, {**BODY, "c2w": down})
    assert sorted(a.status_code for a in answers) == [200] * 3 + [429] * 5
    refused = next(a for a in answers if a.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "takes on 3" in refused.json()["error"]
    assert endpoint.admission.inside == 0
    assert ask_at_once(endpoint, 1, {**BODY, "c2w": down})[0].status_code == 200


def test_what_is_late_is_stopped(out_root: Path, down: Any) -> None:
    class Endless(Slow):
        seconds = 20

    endpoint = Endpoint(out_root, Endless(), limit=2)
    start = time.monotonic()
    (late,) = ask_at_once(endpoint, 1, {**BODY, "c2w": down, "deadline_s": 0.2})
    assert (late.status_code, "deadline_s" in late.json()["error"]) == (504, True)
    endpoint.service.seconds = 0  # type: ignore[attr-defined]
    # The renderer is free again at once, and so is the place.
    assert ask_at_once(endpoint, 1, {**BODY, "c2w": down})[0].status_code == 200
    assert time.monotonic() - start < 15
    assert endpoint.admission.inside == 0


def test_when_to_come_again_follows_how_long_answers_take() -> None:
    admission = Admission(1)
    for _ in range(100):
        admission.took(7.4)
    with admission.place(), pytest.raises(TooBusyError) as caught, admission.place():
        pass
    assert caught.value.retry_after_s == 8
    for _ in range(100):
        admission.took(1e9)
    with admission.place(), pytest.raises(TooBusyError) as caught, admission.place():
        pass
    assert caught.value.retry_after_s == 60


def test_a_renderer_that_is_away_is_503_with_a_time(out_root: Path, down: Any) -> None:
    class Away(RenderService):
        def tile(self, *_: Any) -> Any:
            error = AnerfError("nobody is here")
            error.retry_after_s = 2  # type: ignore[attr-defined]
            raise error

    answer = Endpoint(out_root, Away()).client().post("/render", json={**BODY, "c2w": down})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def test_metrics_tell_of_requests_queue_and_cache(out_root: Path, down: Any) -> None:
    endpoint = Endpoint(out_root)
    client = endpoint.client()
    for _ in range(3):
        assert client.post("/render", json={**BODY, "c2w": down}).status_code == 200
    assert client.post("/render", json={}).status_code == 422
    assert client.get("/nowhere/secret").status_code == 404
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    told = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert told["anerf_http_requests_total", "/render", "200"] == 3
    assert told["anerf_http_requests_total", "/render", "422"] == 1
    assert told["anerf_http_requests_total", "404", "other"] == 1
    assert told["anerf_http_seconds_count", "/render"] == 4
    assert told[("anerf_http_queue",)] == 0
    assert told["anerf_expert_cache_experts", "here"] == 1
    assert told["anerf_expert_cache_loaded", "here"] == 1
    assert told["anerf_expert_cache_asked", "here"] == 3
    assert told["anerf_expert_cache_bytes", "here"] > 1000


def test_faults_of_our_own_are_counted_as_such(out_root: Path, down: Any) -> None:
    class Broken(RenderService):
        def tile(self, source: Any, request: Any, rows: Any, should_stop: Any) -> Any:
            raise ValueError("a fault of ours")

    client = Endpoint(out_root, Broken()).client()
    assert client.post("/render", json={**BODY, "c2w": down}).status_code == 500
    assert 'anerf_http_requests_total{route="/render",status="500"} 1.0' in client.get("/metrics").text


def test_a_thousand_random_bodies(out_root: Path) -> None:
    """Noise, and requests in which something was changed at random: clear answers, and no 5xx."""
    client = Endpoint(out_root).client()
    rng = random.Random(7)
    good = json.dumps({**BODY, "c2w": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 60]]}).encode()
    statuses: dict[int, int] = {}
    for i in range(1000):
        body = bytearray(good)
        if i % 2:
            body = bytearray(rng.randbytes(rng.randrange(300)))
        else:
            for _ in range(rng.randrange(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        path = rng.choice(["/render", "/pick", "/rays?checkpoint=demo&prefix=last"])
        kind = rng.choice(["application/json", "application/octet-stream", "text/plain", ""])
        answer = client.post(path, content=bytes(body), headers={"content-type": kind})
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 400, 403, 404, 415, 422), (answer.status_code, bytes(body))
        if answer.status_code != 200:
            assert answer.json()["error"]
    assert statuses[422] > 500


@pytest.mark.parametrize("path", ["/render", "/pick", "/rays?checkpoint=demo"])
def test_bodies_of_a_hundred_megabytes_are_not_read(out_root: Path, path: str) -> None:
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(100):
            read += 1 << 20
            yield bytes(1 << 20)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Endpoint(out_root).api)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.post(path, content=chunks(), headers={"content-length": str(100 << 20)})

    answer = asyncio.run(send())
    assert (answer.status_code, "are allowed" in answer.json()["error"]) == (413, True)
    assert read <= 1 << 20


def test_the_endpoint_keeps_to_its_own_description(out_root: Path) -> None:
    """schemathesis' own cases for every operation: no 5xx, no answer that the OpenAPI does not tell."""
    api = Endpoint(out_root, token=TOKEN).api
    schema = schemathesis.openapi.from_dict(api.openapi())
    schema.app = api
    schemathesis.checks.load_all_checks()
    checks = schemathesis.checks.CHECKS.get_by_names(
        ["not_a_server_error", "status_code_conformance", "content_type_conformance",
         "response_headers_conformance", "response_schema_conformance"]
    )  # fmt: skip
    seen: dict[str, int] = {}
    for operation in (found.ok() for found in schema.get_all_operations()):

        @settings(
            max_examples=30, deadline=None, derandomize=True, database=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def once(case: Any) -> None:
            response = case.call_and_validate(checks=checks, headers={"Authorization": f"Bearer {TOKEN}"})
            seen[case.path] = max(seen.get(case.path, 0), response.status_code)

        once()
    assert set(seen) >= {"/render", "/rays", "/pick", "/scenes", "/checkpoints", "/healthz", "/metrics"}

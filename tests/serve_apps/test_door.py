"""Who may come in, on both endpoints."""

import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from anerf.errors import InputError
from serve_apps.answers import problem
from serve_apps.door import Door, guard, token_file_of
from serve_apps.front import Front
from tests.serve_apps.endpoint import Endpoint

TOKEN = "0123456789abcdef" * 2
PAGE = "https://map.example.org"


def client(
    token: str | None = None, origins: tuple[str, ...] = (), url: str = "http://127.0.0.1"
) -> TestClient:
    api = FastAPI()
    guard(api, token, origins, max_body_bytes=100, larger={"/large": 200}, told_headers=("X-Told",))

    @api.post("/large")
    @api.post("/small")
    @api.get("/small")
    async def answer() -> str:
        return "ok"

    return TestClient(api, url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "http://localhost:8000", "http://127.8.8.8", "http://[::1]:80"]
)
def test_without_a_token_this_machine_is_answered(url: str) -> None:
    assert client(url=url).get("/small").status_code == 200


@pytest.mark.parametrize(
    "url", ["http://192.0.2.7", "http://10.0.0.1:8000", "http://[2001:db8::1]", "http://there"]
)
def test_without_a_token_nothing_is_answered_elsewhere(url: str) -> None:
    for path in ("/small", "/docs", "/openapi.json", "/nowhere"):
        answer = client(url=url).get(path)
        assert (answer.status_code, "has no token" in answer.json()["error"]) == (403, True)


def test_a_name_that_was_made_to_mean_this_machine_is_not_answered() -> None:
    answer = client().get("/small", headers={"host": "evil.example.org"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 200), ("http://127.0.0.1", 200), (PAGE, 200), ("https://evil.example.org", 403), ("null", 403)],
)
def test_pages_of_others_cannot_call_this_machine(origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"origin": origin}
    # A text body is what a page may send anywhere without asking.
    answer = client(origins=(PAGE,)).post(
        "/small", content=b"{}", headers={**headers, "content-type": "text/plain"}
    )
    assert answer.status_code == status


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://192.0.2.7"])
@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (None, 401), ("", 401), ("Bearer", 401), (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401), (TOKEN, 401), ("Bearer \xe4\xf6", 401), (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
    ],
)  # fmt: skip
def test_with_a_token_it_must_be_shown(url: str, shown: str | None, status: int) -> None:
    headers = {} if shown is None else {"authorization": shown.encode("latin-1")}
    answer = client(TOKEN, url=url).get("/small", headers=headers)
    assert answer.status_code == status
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)


def test_a_token_in_the_address_is_no_token() -> None:
    assert client(TOKEN).get("/small", params={"token": TOKEN, "access_token": TOKEN}).status_code == 401


def test_the_token_is_in_no_log_and_no_answer(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, token=TOKEN)
    with caplog.at_level(logging.DEBUG):
        for headers in ({}, {"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Basic {TOKEN}"}):
            for path in ("/scenes", "/metrics", "/openapi.json", "/healthz", "/nowhere"):
                assert TOKEN not in endpoint.client().get(path, headers=headers).text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(Door("/somewhere"))


def test_pages_that_are_allowed_can_read_answers() -> None:
    door = client(TOKEN, (PAGE,), "http://192.0.2.7")
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = door.options("/small", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    refused = door.options("/small", headers={**asked, "origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in refused.headers
    answer = door.get("/small", headers={"origin": PAGE, "authorization": f"Bearer {TOKEN}"})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "X-Told" in answer.headers["access-control-expose-headers"]
    # Who shows no token can at least read why.
    assert door.get("/small", headers={"origin": PAGE}).headers["access-control-allow-origin"] == PAGE


def test_bodies_have_limits_by_path() -> None:
    door = client()
    assert [door.post(path, content=bytes(150)).status_code for path in ("/small", "/large")] == [413, 200]
    assert door.post("/large", content=bytes(201)).status_code == 413


def test_a_token_file_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = token_file_of(tmp_path / "token")
    token = Door(str(path)).token()
    assert token is not None
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert Door(str(token_file_of(path))).token() == token


@pytest.mark.parametrize("content", [b"", b"short", b"two words and more of them", b"\xff" * 40, "ä" * 40])
def test_what_is_no_token_is_refused(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "token"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match="token file"):
        Door(str(file)).token()
    with pytest.raises(InputError, match="cannot be read"):
        Door(str(tmp_path / "nowhere")).token()
    assert Door().token() is None


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    """As Serve when a replica dies: no answer at all."""


def test_a_request_whose_replica_died_is_asked_to_come_again() -> None:
    answer = TestClient(Front(_silent)).get("/scenes")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_serves_own_paths_stay_inside() -> None:
    serve = Front(problem(200, "routes"))
    assert TestClient(serve, "http://192.0.2.7").get("/-/routes").status_code == 404
    assert TestClient(serve, "http://127.0.0.1").get("/-/routes").status_code == 200
    assert TestClient(serve, "http://192.0.2.7").get("/scenes").status_code == 200

"""A viewer's own pages may use it, other people's may not: by rule, and as browsers' connections meet it."""

import asyncio
import contextlib
import queue
from collections.abc import Iterator

import numpy as np
import pytest
import viser
from websockets.exceptions import ConnectionClosed

from anerf.loopback import is_loopback, names_loopback
from anerf.viewer.camera import ViewFrame
from anerf.viewer.own_pages import OwnPages, keep_to
from tests.viewer.patience import PATIENCE_S, wait_for
from tests.viewer.wire import WireClient

PUBLIC = "https://viewer.example.org"
HERE = "127.0.0.1:7070"


@pytest.mark.parametrize(
    ("page", "host"),
    [
        (None, "anything"),
        ("http://127.0.0.1:7070", HERE),
        ("http://localhost:8080", "localhost:8080"),  # a tunnel
        ("http://[::1]:7070", "[::1]:7070"),
        ("https://viewer.example.org", HERE),
        ("https://viewer.example.org", "viewer.example.org"),
    ],
)
def test_own_pages(page: str | None, host: str) -> None:
    assert OwnPages("127.0.0.1", f"{PUBLIC}:443/town").include(page, host)


@pytest.mark.parametrize(
    ("page", "host"),
    [
        ("http://evil.example", HERE),
        ("http://localhost:8000", HERE),  # another server of this machine
        ("http://evil.example:7070", "evil.example:7070"),  # its name leads to loopback
        ("http://viewer.example.org", HERE),
        ("null", HERE),
        ("", HERE),
        ("http://[", HERE),
        ("http://a:99999", HERE),
        ("http://127.0.0.1:7070", ""),
    ],
)
def test_pages_of_others(page: str, host: str) -> None:
    assert not OwnPages("127.0.0.1", PUBLIC).include(page, host)


def test_a_viewer_that_listens_to_all_is_known_by_any_name() -> None:
    assert OwnPages("0.0.0.0").include("http://tower:7070", "tower:7070")
    assert not OwnPages("0.0.0.0").include("http://evil.example", "tower:7070")


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "[::1]")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.org", "")] == [
        False
    ] * 5
    assert [names_loopback(host) for host in ("localhost", "[::1]:80", "evil.org:80", "[", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    made = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    keep_to(OwnPages("127.0.0.1", PUBLIC), made)

    async def slowly(_: object) -> None:
        await asyncio.sleep(0.3)

    # Who is slow has received a stranger's first words before the stranger is known.
    made._websock_server._client_connect_cb.insert(0, slowly)
    yield made
    made.stop()


def arrive(server: viser.ViserServer, page: str | None, host: str | None = None) -> WireClient:
    """A connection that says at once where its camera is."""
    client = WireClient(f"http://127.0.0.1:{server.get_port()}", page=page, host=host)
    with contextlib.suppress(ConnectionClosed):
        client.stand(ViewFrame((0.0, 0.0, 0.0), 1.0), np.eye(3, 4), 60.0)
    return client


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example"])
def test_a_strangers_connection_is_closed_and_nothing_is_heard_from_it(server, caplog, host) -> None:
    wait_for(lambda: not server.get_clients())  # those of earlier tests would be welcomed once more
    welcomed: queue.SimpleQueue[int] = queue.SimpleQueue()
    server.on_client_connect(lambda client: welcomed.put(client.client_id))
    stranger = arrive(server, f"http://{host}", host)
    assert stranger.closing_code() == 1008
    assert stranger.messages == []
    own = arrive(server, f"http://127.0.0.1:{server.get_port()}")
    welcomed.get(timeout=PATIENCE_S)
    assert welcomed.empty()
    assert "public_url" in caplog.text
    own.close()


@pytest.mark.parametrize("page", [None, PUBLIC, "http://localhost:9"])
def test_programs_and_own_pages_are_served(server, page) -> None:
    client = arrive(server, page, "localhost:9" if page and "localhost" in page else None)
    client.wait(lambda: bool(client.of_type("ReplayDone")))
    client.close()

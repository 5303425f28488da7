"""Whose pages may use a viewer: its own. Programs, which come from no page, may too.

Browsers let every page that a person has open connect to every server, and viser asks nobody where they
come from. It offers no hook for that either: what is taken of its inside is taken here.
"""

import contextlib
import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

import viser
import viser.infra
from websockets.exceptions import ConnectionClosed

from anerf.loopback import is_loopback, names_loopback

_MOST_TOLD = 20
_PORTS = {"http": 80, "https": 443}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnPages:
    """The pages of a viewer that listens on `host`, and is found at `public_url` behind a proxy."""

    host: str
    public_url: str | None = None

    def include(self, origin: str | None, asked_host: str) -> bool:
        """Whether a page of this origin, or none, may use the viewer that it asked for by this `Host`."""
        if origin is None:
            return True
        try:
            page = _place(origin)
            if self.public_url is not None and page == _place(self.public_url):
                return True
            # A page can have its own name lead to loopback: there the name must be loopback's, too.
            is_ours = not is_loopback(self.host) or names_loopback(asked_host)
            return is_ours and page == _place(f"{page[0]}://{asked_host}")
        except ValueError:
            return False


def keep_to(pages: OwnPages, server: viser.ViserServer) -> None:
    """Close the connections of all other pages before the server hears a word from them."""
    sockets = server._websock_server
    told: set[str] = set()

    async def close_others(client: viser.infra.WebsockClientConnection) -> None:
        connection = sockets._live_connections[client.client_id]
        assert connection.request is not None, "viser calls this after the handshake"
        headers = connection.request.headers
        origin, asked_host = headers.get("Origin"), headers.get("Host", "")
        if pages.include(origin, asked_host):
            return
        assert origin is not None
        if origin not in told and len(told) < _MOST_TOLD:
            told.add(origin)
            _log.warning(
                "a page of %.100s at %.100s wanted to use the viewer and may not: if it is the viewer's own"
                " behind a proxy, give the view job its address as public_url",
                origin,
                asked_host,
            )
        await connection.close(1008, "pages of other origins may not use this viewer")
        # What it has sent meanwhile would still be read.
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()

    sockets._client_connect_cb.insert(0, close_others)
    # Who came before comes again.
    sockets.disconnect_all_clients()


def _place(url: str) -> tuple[str, str, int]:
    """What makes two pages of one origin; ValueError where it is no page's, as of a file's `null`."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url[:100]!r} is not http://HOST or https://HOST")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]

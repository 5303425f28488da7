"""Who may come in: a bearer token, or this machine alone. The same for every endpoint."""

import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from anerf.errors import InputError
from anerf.loopback import is_loopback, names_loopback
from serve_apps.answers import BodyLimit, problem

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Door:
    """Rules of an endpoint, as they may lie in Ray's records: the token itself stands in a file alone.

    Args:
        token_file: Who shows its content as `Authorization: Bearer ...` may come in. Without it only those
            who come to a loopback address may, and no web pages but our own.
        origins: Web pages (scheme://host:port) whose scripts may call the endpoint; `*` for all.
    """

    token_file: str | None = None
    origins: tuple[str, ...] = ()

    def token(self) -> str | None:
        """The token, if there is one.

        Raises:
            InputError: the file cannot be read or holds no token.
        """
        if self.token_file is None:
            return None
        try:
            token = Path(self.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the token file {self.token_file} cannot be read ({error})") from error
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise InputError(
                f"the token file {self.token_file} holds no token: give at least {_SHORTEST_TOKEN} letters "
                "and digits on one line, such as `openssl rand -hex 32` prints"
            )
        return token


def guard(
    api: FastAPI,
    token: str | None,
    origins: tuple[str, ...],
    max_body_bytes: int,
    larger: Mapping[str, int] | None = None,
    told_headers: tuple[str, ...] = (),
) -> None:
    """Put an API behind the door: who may come in, how large a body may be, which pages may read answers.

    Args:
        larger: Limits of paths that take more than `max_body_bytes`.
        told_headers: Of answers, that pages of `origins` may read.
    """
    # The last one added is the first to see a request.
    api.add_middleware(BodyLimit, max_bytes=max_body_bytes, larger=larger)
    api.add_middleware(DoorKeeper, token=token, origins=origins)
    if origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
            expose_headers=["Retry-After", *told_headers],
        )


class DoorKeeper:
    """Refuses everybody whom the rules do not let in, before anything of the request is read."""

    def __init__(self, app: ASGIApp, token: str | None, origins: tuple[str, ...] = ()) -> None:
        self._app, self._token, self._origins = app, token, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if self._token is not None:
            if not self._shows_token(headers.get("authorization", "")):
                refusal = problem(401, "Show the endpoint's token: Authorization: Bearer TOKEN.")
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return await refusal(scope, receive, send)
        elif (why := self._stranger(scope, headers)) is not None:
            return await problem(403, why)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _shows_token(self, authorization: str) -> bool:
        kind, _, shown = authorization.partition(" ")
        assert self._token is not None
        return kind.lower() == "bearer" and hmac.compare_digest(
            shown.strip().encode("utf-8", "replace"), self._token.encode()
        )

    def _stranger(self, scope: Scope, headers: Headers) -> str | None:
        """Why somebody without a token may not come in; None who may."""
        address = (scope.get("server") or ("", None))[0]
        if not is_loopback(address):
            return "This endpoint has no token, so it answers on loopback addresses only: give it a token."
        # A web page that the user has open can reach loopback too, under a name of its own if it likes.
        if not names_loopback(headers.get("host", "")):
            return "This endpoint has no token, so it answers to localhost alone: give it a token."
        origin = headers.get("origin")
        own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
        if origin is not None and origin != own and not {origin, "*"} & set(self._origins):
            return f"Pages of {origin[:200]} may not call this endpoint: allow their origin."
        return None


def token_file_of(path: Path) -> Path:
    """The token file at `path`, made with a new token if it is not there; its owner alone can read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path

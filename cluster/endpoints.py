"""The HTTP endpoints of a stack: on which address, and who may come in."""

import ipaddress
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from anerf.errors import StackError
from anerf.loopback import is_loopback
from cluster.processes import free_port
from cluster.stack import Stack
from serve_apps.door import Door, token_file_of

TOKEN_FILE = ".http-token"
"""Below the output folder: the token that `anerf up` made."""


@dataclass(frozen=True)
class Endpoints:
    """What a user asks for; see `anerf up --help`."""

    port: int
    host: str
    token_file: Path | None
    origins: tuple[str, ...]
    renderers: int

    def door(self, out: Path) -> Door:
        """Who may come in. Where strangers could reach the endpoints, there is a token in any case.

        Raises:
            InputError: the token file holds no token.
        """
        token_file = self.token_file
        if token_file is None and not is_loopback(self.host):
            token_file = token_file_of(out / TOKEN_FILE)
        door = Door(None if token_file is None else str(token_file.absolute()), self.origins)
        door.token()
        return door


def deploy(stack: Stack, wanted: Endpoints) -> Stack:
    """Start the endpoints in the Ray that this process has joined.

    Raises:
        StackError: they do not come up. InputError: the token file holds no token.
    """
    from ray import serve
    from ray.exceptions import RayError

    from serve_apps.jobs import ROUTE, build_jobs_app
    from serve_apps.render import build_app

    door = wanted.door(Path(stack.out))
    port = free_port(wanted.port, wanted.host)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options={"host": wanted.host, "port": port})
        serve.run(build_jobs_app(door), name="jobs", route_prefix=ROUTE)
        app = build_app(stack.out, door, max_renderers=wanted.renderers)
        serve.run(app, name="render", route_prefix="/")
    except (RuntimeError, TimeoutError, RayError) as error:
        raise StackError(
            f"the endpoints cannot be deployed ({str(error).strip().splitlines()[0]}): "
            "`anerf up --no-serve` leaves them out"
        ) from error
    stack = replace(stack, http_port=port, http_host=wanted.host, http_token_file=door.token_file)
    stack.save()
    return stack


def reachable(host: str) -> str:
    """An address of this machine by which what listens on `host` is reached."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "::1" if address.version == 6 else "127.0.0.1"

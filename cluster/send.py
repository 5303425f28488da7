"""`anerf send`: put a job message on the queue."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from actors.names import JOB_TOPIC
from anerf.errors import JobError, StackError
from anerf.jobs.headers import is_traceparent, message_headers
from anerf.jobs.spec import parse_job
from cluster.kafka_config import SERVERS, read_kafka_settings, refusals
from cluster.run import read_job_file
from cluster.stack import DEFAULT_OUT, living_stack

_DELIVERY_TIMEOUT_S = 30.0


def send(
    job: Path,
    /,
    out: Path = DEFAULT_OUT,
    bootstrap_servers: str | None = None,
    kafka_config: Path | None = None,
    traceparent: str | None = None,
    raw: bool = False,
) -> None:
    """Send a job through Kafka and tell its id, once the broker has it.

    Args:
        job: The job's JSON file. With the local stack, relative paths in it start at the current folder.
        out: Folder of the stack to send to.
        bootstrap_servers: A Kafka to send to, instead of the local stack's.
        kafka_config: File with librdkafka's properties, as for `anerf up`; without it the local stack's.
        traceparent: W3C trace context that the job belongs to.
        raw: Send the file's bytes as they are, without looking at them.
    """
    message = read_job_file(job)
    if traceparent is not None and not is_traceparent(traceparent):
        raise JobError(
            f"--traceparent {traceparent} is no W3C trace context: give 00-<32 hex digits>-<16>-<2>"
        )
    kafka = read_kafka_settings(kafka_config, bootstrap_servers, os.environ)
    is_local = SERVERS not in kafka
    if is_local:
        stack = living_stack(out.absolute())
        if kafka_config is None and stack.kafka_config is not None:
            kafka = read_kafka_settings(Path(stack.kafka_config), None, os.environ)
        kafka = {**kafka, SERVERS: str(stack.bootstrap_servers)}
    job_id = None
    if not raw:
        parsed = parse_job(message)
        if is_local:
            parsed = parsed.resolved(Path.cwd())
        job_id = parsed.job_id
        message = json.dumps(parsed.given()).encode()
    produce(kafka, job_id, message, traceparent)
    Console().print(job_id or f"{len(message)} bytes sent as they are", highlight=False)


def produce(
    kafka: Mapping[str, str], job_id: str | None, message: bytes, traceparent: str | None = None
) -> None:
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

    with refusals(kafka):
        producer = Producer(quiet_settings(kafka))
    headers: Any = message_headers(traceparent)
    producer.produce(JOB_TOPIC, key=job_id, value=message, headers=headers, on_delivery=delivered)
    if producer.flush(_DELIVERY_TIMEOUT_S) > 0:
        failures.append(f"no answer within {_DELIVERY_TIMEOUT_S:g} s")
    if failures:
        raise StackError(
            f"the broker at {kafka[SERVERS]} did not take the job ({failures[0]}): see that it is up"
        )

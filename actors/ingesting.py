"""Between Kafka and the Mediator: job messages in, news of jobs out.

Kafka is the inbox, not the work queue. A message is read, taken on durably by the Mediator (or set aside as
a dead letter, with its original bytes), and only then its offset is stored; so it is processed at least once,
and the Mediator makes it take effect once. No job ever runs here, so the consumer always polls.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from ray.exceptions import RayActorError

from actors import metrics
from actors.mediator import Delivery, News
from actors.names import (
    CONSUMER_GROUP,
    DEAD_LETTER_TOPIC,
    JOB_TOPIC,
    STATUS_TOPIC,
)
from actors.topics import ensure_topics, quiet_settings
from anerf.jobs.events import Event
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, SubmitResult

logger = logging.getLogger(__name__)

_BATCH = 500
_POLL_S = 0.2
_STATUS_PERIOD_S = 0.5
_DELIVERY_TIMEOUT_S = 30.0
_MEDIATOR_RETRY_S = 1.0
_SESSION_TIMEOUT_MS = 6000
"""Kafka's usual minimum. The embedded broker lets a new consumer in after half of it."""


@dataclass(frozen=True)
class IngestorStatus:
    """What the ingestor has done since it started."""

    assigned: bool
    accepted: int
    dead_letters: int


class Ingest:
    """Reads job messages, hands them to the Mediator, and tells the status topic how jobs fare.

    Both go on in threads of their own, until an error from which they cannot recover ends one.
    """

    def __init__(self, kafka: Mapping[str, Any], mediator: Any) -> None:
        """Start with librdkafka's settings, `bootstrap.servers` at least, and the Mediator's handle."""
        self._mediator = mediator
        self._kafka = quiet_settings(kafka)
        self._accepted = 0
        self._dead_letters = 0
        self._assigned = False
        ensure_topics(kafka)
        for work in (self._ingest, self._report):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def status(self) -> IngestorStatus:
        """Whether messages are being read, and how many were."""
        return IngestorStatus(self._assigned, self._accepted, self._dead_letters)

    def _ingest(self) -> None:
        consumer = Consumer(
            {
                **self._kafka,
                "group.id": CONSUMER_GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": True,
                "auto.commit.interval.ms": 1000,
                "enable.auto.offset.store": False,
                "session.timeout.ms": _SESSION_TIMEOUT_MS,
            }
        )
        producer = Producer({**self._kafka, "enable.idempotence": False, "acks": "all"})
        consumer.subscribe([JOB_TOPIC], on_assign=self._on_assign, on_revoke=self._on_revoke)
        while True:
            messages = [m for m in consumer.consume(_BATCH, _POLL_S) if not _is_error(m)]
            if not messages:
                continue
            results = self._submit([Delivery(m.value() or b"", _mark(m)) for m in messages])
            rejected = [
                (message, result)
                for message, result in zip(messages, results, strict=True)
                if result.state is JobState.REJECTED
            ]
            send_dead_letters(producer, rejected)
            for message in messages:
                consumer.store_offsets(message)
            self._accepted += len(messages) - len(rejected)
            self._dead_letters += len(rejected)
            metrics.count(metrics.DEAD_LETTERS, len(rejected))

    def _submit(self, deliveries: Sequence[Delivery]) -> Sequence[SubmitResult]:
        """The Mediator's answers; while it is being restarted, wait for it."""
        while True:
            try:
                return cast(Sequence[SubmitResult], ray.get(self._mediator.submit_many.remote(deliveries)))
            except RayActorError as error:
                logger.warning("the Mediator does not answer, trying again: %s", error)
                time.sleep(_MEDIATOR_RETRY_S)

    def _report(self) -> None:
        """Publish what happens to jobs, keyed by job id, so that a compacted topic keeps the last of each."""
        producer = Producer({**self._kafka, "linger.ms": 50})
        feed, after = "", 0
        while True:
            try:
                news = cast(News, ray.get(self._mediator.news.remote(feed, after)))
            except RayActorError:
                time.sleep(_MEDIATOR_RETRY_S)
                continue
            for summary, event in news.items:
                producer.produce(
                    STATUS_TOPIC, key=summary.job_id, value=json.dumps(status_message(summary, event))
                )
                producer.poll(0)
            # Go on only from what the broker has; what it has not is told again.
            if producer.flush(_DELIVERY_TIMEOUT_S) == 0:
                feed, after = news.feed, news.next
            time.sleep(_STATUS_PERIOD_S)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[Any]) -> None:
        self._assigned = bool(partitions)
        logger.info("reading %s", ", ".join(f"{p.topic}/{p.partition}" for p in partitions))

    def _on_revoke(self, _consumer: Consumer, _partitions: Sequence[Any]) -> None:
        self._assigned = False


def status_message(summary: JobSummary, event: Event) -> dict[str, Any]:
    """What the status topic says: where the job stands, and the event that brought it there."""
    return {"version": 1, **summary.to_json(), "event": event}


def send_dead_letters(producer: Producer, rejected: Sequence[tuple[Message, SubmitResult]]) -> None:
    """Set messages aside with their original key and bytes, and the reason and origin in headers.

    Raises:
        KafkaException: not every one was delivered; none of their offsets may be stored then.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    for message, result in rejected:
        logger.warning("%s: set aside in %s: %s", _mark(message), DEAD_LETTER_TOPIC, result.message)
        headers: list[tuple[str, str | bytes | None]] = [
            ("reason", result.message.encode()),
            ("topic", (message.topic() or "").encode()),
            ("partition", str(message.partition()).encode()),
            ("offset", str(message.offset()).encode()),
        ]
        producer.produce(
            DEAD_LETTER_TOPIC,
            value=message.value(),
            key=message.key(),
            headers=headers,
            on_delivery=delivered,
        )
        producer.poll(0)
    if producer.flush(_DELIVERY_TIMEOUT_S) > 0:
        failures.append(KafkaError(KafkaError._MSG_TIMED_OUT))
    if failures:
        raise KafkaException(failures[0])


def _mark(message: Message) -> str:
    """The same for every delivery of one message; the time tells it from that of a broker that began anew."""
    _, timestamp_ms = message.timestamp()
    return f"{message.topic()}/{message.partition()}/{message.offset()}@{timestamp_ms}"


def _is_error(message: Message) -> bool:
    """Whether this is a notice instead of a message; librdkafka recovers from all but fatal errors by itself.

    Raises:
        KafkaException: it cannot.
    """
    error = message.error()
    if error is None:
        return False
    if error.fatal():
        raise KafkaException(error)
    logger.warning("Kafka: %s", error)
    return True

"""The reader of the job topic: takes messages to a desk, sets aside what is no job, and keeps polling.

One thread and nothing that waits: a message is read, examined, and taken on durably behind the desk (or set
aside as a dead letter), and only then its offset is stored. So it is processed at least once. However long
the desk takes, the consumer polls, so the broker never thinks it dead; when too much lies here, partitions
are paused, and the rest waits on the topic.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from actors import metrics
from actors.dead_letters import DeadLetters, Letter, headers_of
from actors.lag import lag_of
from actors.mediator import Delivery
from actors.names import CONSUMER_GROUP, JOB_TOPIC
from actors.topics import quiet_settings
from anerf.errors import JobError
from anerf.jobs.headers import Header
from anerf.jobs.intake import examine
from anerf.jobs.states import JobState
from anerf.jobs.table import SubmitResult

logger = logging.getLogger(__name__)

MAX_WAITING = 500
"""Messages that may lie here; above it partitions are paused until half of them are gone."""
MAX_WAITING_BYTES = 32 << 20

_BATCH = 100
_IDLE_POLL_S = 0.2
_BUSY_POLL_S = 0.02
_FULL_RETRY_S = 0.5
_REVOKE_GRACE_S = 3.0
_MEND_EVERY_S = 5.0
_ASK_EVERY_S = 5.0
_ASK_TIMEOUT_S = 0.5

FIXED = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": True,
    "enable.auto.offset.store": False,
    # Assignments come whole, not by the difference.
    "partition.assignment.strategy": "range,roundrobin",
    "group.protocol": "classic",
}
"""What nobody may set otherwise: offsets are stored here, after the message has been dealt with."""
_DEFAULTS = {
    "group.id": CONSUMER_GROUP,
    "auto.commit.interval.ms": 1000,
    # Kafka's usual minimum. The embedded broker lets a new consumer in after half of it.
    "session.timeout.ms": 6000,
    "topic.metadata.refresh.interval.ms": 10_000,
    "queued.max.messages.kbytes": 16 << 10,
    "statistics.interval.ms": 5000,
}


class Desk(Protocol):
    """Takes deliveries on durably. No method waits."""

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries over, when the answers to the last ones are there."""
        ...

    def answers(self) -> Sequence[SubmitResult] | None:
        """One for each of the first deliveries, for which there was room; None: not yet."""
        ...


@dataclass
class _Item:
    message: Message
    headers: Sequence[Header] = ()
    delivery: Delivery | None = None
    """For the desk; None: no job."""
    letter: Letter | None = None
    at_desk: bool = False
    settled: bool = False

    @property
    def partition(self) -> tuple[str | None, int | None]:
        return self.message.topic(), self.message.partition()

    @property
    def is_done(self) -> bool:
        return self.settled or (self.letter is not None and self.letter.delivered)


@dataclass(frozen=True)
class InboxStatus:
    """What the reader has done since it started."""

    assigned: bool = False
    accepted: int = 0
    dead_letters: int = 0
    waiting: int = 0
    """Messages read whose offset is not stored yet."""
    paused: bool = False
    """Whether partitions are paused because too much is waiting."""
    lag: int | None = None
    """Messages on the topic that have not been dealt with, as far as known: on partitions read here."""


@dataclass
class _Counts:
    accepted: int = 0
    dead_letters: int = 0
    bytes: int = 0
    lag: int | None = None
    assigned: set[tuple[str | None, int | None]] = field(default_factory=set)


class Inbox:
    """Reads the job topic as one of its consumer group."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        desk: Desk,
        mend: Callable[[], object],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Join the group.

        Args:
            kafka: librdkafka's settings.
            desk: Takes the jobs on.
            mend: Called, now and then, when the topic is missing.
            max_waiting: Messages that may lie here.
        """
        self._desk = desk
        self._mend = mend
        self._max_waiting = max_waiting
        self._letters = DeadLetters(kafka)
        self._items: deque[_Item] = deque()
        self._at_desk: list[_Item] = []
        self._counts = _Counts()
        self._paused = self._stored = False
        self._not_before = self._mended_at = self._asked_at = 0.0
        self._ends: dict[int, int] = {}
        settings = {**_DEFAULTS, **quiet_settings(kafka), **FIXED, "stats_cb": self._on_statistics}
        self._consumer = Consumer(settings)
        self._consumer.subscribe(
            [JOB_TOPIC], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def status(self) -> InboxStatus:
        """For others to look at, from any thread."""
        counts = self._counts
        return InboxStatus(
            bool(counts.assigned),
            counts.accepted,
            counts.dead_letters,
            len(self._items),
            self._paused,
            counts.lag,
        )

    def step(self) -> None:
        """One round: poll, examine, hand over, take answers, store offsets.

        Raises:
            KafkaException: an error from which librdkafka cannot recover.
        """
        for message in self._consumer.consume(
            min(_BATCH, self._max_waiting), _BUSY_POLL_S if self._items else _IDLE_POLL_S
        ):
            if not self._is_error(message):
                self._examine(message)
        self._talk_to_desk()
        self._letters.poll()
        self._store()
        self._pause_or_resume()
        if self._paused and time.monotonic() - self._asked_at > _ASK_EVERY_S:
            self._ask_for_ends()

    def close(self) -> None:
        """Leave the group; what has been dealt with is not read again."""
        self._consumer.close()

    def _examine(self, message: Message) -> None:
        item = _Item(message)
        self._items.append(item)
        self._counts.bytes += _size(message)
        mark = mark_of(message)
        value = message.value()
        try:
            item.headers = headers_of(message)
            _, found = examine(value, item.headers, mark)
        except JobError as error:
            self._set_aside(item, str(error))
        else:
            assert value is not None
            item.delivery = Delivery(value, mark, found.traceparent)

    def _set_aside(self, item: _Item, reason: str) -> None:
        item.delivery = None
        item.letter = self._letters.send(item.message, item.headers, reason)
        self._counts.dead_letters += 1
        metrics.count(metrics.DEAD_LETTERS)

    def _talk_to_desk(self) -> None:
        if self._at_desk:
            answers = self._desk.answers()
            if answers is None:
                return
            for item, answer in zip(self._at_desk, answers, strict=False):
                if answer.state is JobState.REJECTED:
                    self._set_aside(item, answer.message)
                else:
                    item.delivery, item.settled = None, True
                    self._counts.accepted += 1
            for item in self._at_desk:
                item.at_desk = False
            if len(answers) < len(self._at_desk):
                self._not_before = time.monotonic() + _FULL_RETRY_S
            self._at_desk = []
        if time.monotonic() < self._not_before:
            return
        self._at_desk = [item for item in self._items if item.delivery is not None][:_BATCH]
        if self._at_desk:
            for item in self._at_desk:
                item.at_desk = True
            self._desk.send([item.delivery for item in self._at_desk if item.delivery is not None])

    def _store(self) -> None:
        """Store the offsets of what has been dealt with, in order: of nothing behind something unsettled."""
        newest: dict[tuple[str | None, int | None], Message] = {}
        while self._items and self._items[0].is_done:
            item = self._items.popleft()
            self._counts.bytes -= _size(item.message)
            if item.partition in self._counts.assigned:
                newest[item.partition] = item.message
        for message in newest.values():
            self._consumer.store_offsets(message)
            self._stored = True

    def _pause_or_resume(self) -> None:
        n, n_bytes = len(self._items), self._counts.bytes
        if not self._paused and (n >= self._max_waiting or n_bytes >= MAX_WAITING_BYTES):
            self._paused = True
            self._consumer.pause(self._consumer.assignment())
            logger.info("paused: %d messages of %d bytes wait to be taken on", n, n_bytes)
        elif self._paused and n <= self._max_waiting // 2 and n_bytes <= MAX_WAITING_BYTES // 2:
            self._paused = False
            self._ends.clear()
            self._consumer.resume(self._consumer.assignment())
            logger.info("reading on: %d messages wait", n)

    def _ask_for_ends(self) -> None:
        """What fetches tell otherwise: a full queue is when people want to know how much more there is."""
        try:
            for partition in self._consumer.assignment():
                _, end = self._consumer.get_watermark_offsets(partition, timeout=_ASK_TIMEOUT_S)
                self._ends[partition.partition] = end
        except KafkaException as error:
            logger.warning("how far behind this reader is, is not known: %s", error)
        self._asked_at = time.monotonic()

    def _on_statistics(self, statistics: str) -> None:
        """Called while polling; what it reads is here already, so polling does not wait."""
        read_here = {number for _, number in self._counts.assigned if number is not None}
        self._counts.lag = lag_of(statistics, JOB_TOPIC, read_here, self._ends)
        if self._counts.lag is not None or not read_here:
            metrics.tell(metrics.CONSUMER_LAG, self._counts.lag or 0)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._counts.assigned = {(p.topic, p.partition) for p in partitions}
        # librdkafka remembers a pause of ours, also over an assignment.
        self._paused = False
        self._consumer.resume(list(partitions))
        self._ends.clear()
        logger.info("reading %s", ", ".join(f"{p.topic}/{p.partition}" for p in partitions) or "nothing")

    def _on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Finish what is half done: the next reader goes on behind it, and reads the rest again."""
        deadline = time.monotonic() + _REVOKE_GRACE_S
        while (self._at_desk or self._letters_on_their_way()) and time.monotonic() < deadline:
            self._not_before = deadline  # hand nothing new over
            self._talk_to_desk()
            self._letters.poll(_BUSY_POLL_S)
            if self._at_desk:
                time.sleep(_BUSY_POLL_S)
        self._not_before = 0.0
        self._store()
        if self._stored:
            try:
                self._consumer.commit(asynchronous=False)
            except KafkaException as error:
                logger.warning("what was dealt with may be read again, offsets do not arrive: %s", error)
        self._forget(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        logger.warning("lost %s to another reader", ", ".join(f"{p.topic}/{p.partition}" for p in partitions))
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        self._counts.assigned = self._counts.assigned - gone
        self._items = deque(item for item in self._items if item.partition not in gone)
        self._counts.bytes = sum(_size(item.message) for item in self._items)

    def _letters_on_their_way(self) -> bool:
        return any(item.letter is not None and not item.letter.delivered for item in self._items)

    def _is_error(self, message: Message) -> bool:
        """Whether this is a notice instead of a message; librdkafka recovers from all but fatal errors."""
        error = message.error()
        if error is None:
            return False
        if error.fatal():
            raise KafkaException(error)
        logger.warning("Kafka: %s", error)
        missing = error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        if missing and time.monotonic() - self._mended_at > _MEND_EVERY_S:
            self._mended_at = time.monotonic()
            self._mend()
        return True


def mark_of(message: Message) -> str:
    """The same for every delivery of one message; the time tells it from that of a broker that began anew."""
    _, timestamp_ms = message.timestamp()
    return f"{message.topic()}/{message.partition()}/{message.offset()}@{timestamp_ms}"


def _size(message: Message) -> int:
    return len(message.value() or b"") + len(message.key() or b"")

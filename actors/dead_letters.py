"""Dead letters: messages that are no jobs, set aside with their bytes and the reason."""

import logging
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from actors.names import DEAD_LETTER_TOPIC
from actors.topics import quiet_settings
from anerf.errors import JobError
from anerf.jobs.headers import Header

logger = logging.getLogger(__name__)

REASON, TOPIC, PARTITION, OFFSET = "reason", "topic", "partition", "offset"
CUT = "cut-from-bytes"
"""Header with the size of a value that the broker would not take again whole.

Value and key of such a letter are cut, and it has none of the message's own headers."""

_HEADERS = operator.methodcaller("headers")
"""Python looks whether this one failed; of `message.headers()`, once it is used to the call, no more."""
_CUT_BYTES = 64 << 10
_LARGEST_BYTES = 1_000_000_000
_TIMEOUT_MS = 30_000


class Letter:
    """A dead letter on its way."""

    def __init__(self, message: Message, headers: Sequence[Header], reason: str) -> None:
        self.message = message
        self.headers = headers
        self.reason = reason
        self.delivered = False
        """Whether the broker has it."""


class DeadLetters:
    """Sends dead letters, each until the broker has it; nothing here waits. Not safe for threads."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        """Start with librdkafka's settings."""
        settings = {
            **quiet_settings(kafka),
            "acks": "all",
            "enable.idempotence": False,
            # What the broker let in may be larger than what a producer sends unless told so.
            "message.max.bytes": _LARGEST_BYTES,
            "message.timeout.ms": _TIMEOUT_MS,
        }
        self._producer = Producer(settings)

    def send(self, message: Message, headers: Sequence[Header], reason: str) -> Letter:
        """Set a message aside, with its `headers_of`; `poll` tells the letter when it is there."""
        mark = f"{message.topic()}/{message.partition()}/{message.offset()}"
        logger.warning("%s: set aside in %s: %s", mark, DEAD_LETTER_TOPIC, reason)
        letter = Letter(message, headers, reason)
        self._produce(letter, cut=False)
        return letter

    def poll(self, timeout_s: float = 0.0) -> None:
        """Let letters know whether they have arrived."""
        self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Wait a while for the letters that are on their way."""
        self._producer.flush(timeout_s)

    def _produce(self, letter: Letter, cut: bool) -> None:
        def told(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                letter.delivered = True
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and not cut:
                self._produce(letter, cut=True)
            else:
                logger.warning("a dead letter has not arrived (%s): sending it again", error)
                self._produce(letter, cut)

        message = letter.message
        value, key, told_headers = message.value(), message.key(), _told(message, letter.reason)
        if cut:
            headers = [*told_headers, (CUT, str(len(value or b"")).encode())]
            value, key = value and value[:_CUT_BYTES], key and key[:_CUT_BYTES]
        else:
            headers = [*letter.headers, *told_headers]
        self._producer.produce(DEAD_LETTER_TOPIC, value=value, key=key, headers=headers, on_delivery=told)


def headers_of(message: Message) -> Sequence[Header]:
    """A message's own headers. To be asked once: where it fails, librdkafka's next answer ends the process.

    Raises:
        JobError: a header's name is not UTF-8, which Kafka's other clients do not mind.
    """
    try:
        own: Any = _HEADERS(message) or ()
    except SystemError as error:  # what confluent-kafka makes of a UnicodeDecodeError
        raise JobError(
            "the job message has a header whose name is not UTF-8: use another name, or leave it out"
        ) from error
    return own


def _told(message: Message, reason: str) -> list[Header]:
    """Why it is no job, and where it was."""
    return [
        (REASON, reason.encode("utf-8", "replace")),
        (TOPIC, (message.topic() or "").encode()),
        (PARTITION, str(message.partition()).encode()),
        (OFFSET, str(message.offset()).encode()),
    ]

"""The embedded broker does what the ingestor relies on."""

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from actors.ingesting import send_dead_letters
from actors.names import DEAD_LETTER_TOPIC, JOB_TOPIC, STATUS_TOPIC
from actors.topics import ensure_topics
from anerf.jobs.states import JobState
from anerf.jobs.table import SubmitResult
from cluster.broker import start_broker
from cluster.processes import stop
from cluster.send import produce

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path):
    process, port = start_broker(tmp_path, tmp_path / "broker.log")
    yield {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    stop(tmp_path, [process], grace_s=2.0)


def read(broker, topic, count):
    settings = {"group.id": "test", "auto.offset.reset": "earliest", "session.timeout.ms": 6000}
    consumer = Consumer({**broker, **settings, "enable.auto.offset.store": False})
    consumer.subscribe([topic])
    found, deadline = [], time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline
        found += [m for m in consumer.consume(10, 0.2) if m.error() is None]
    for message in found:
        consumer.store_offsets(message)
    consumer.commit(asynchronous=False)
    consumer.close()
    return found


def test_two_brokers_take_two_ports(broker, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    process, port = start_broker(other, other / "broker.log")
    stop(other, [process], grace_s=2.0)
    assert not broker["bootstrap.servers"].endswith(str(port))


def test_topics_are_made_once(broker):
    ensure_topics(broker)
    ensure_topics(broker)
    assert {JOB_TOPIC, STATUS_TOPIC, DEAD_LETTER_TOPIC} <= set(
        AdminClient(broker).list_topics(timeout=5).topics
    )


def test_what_was_read_is_not_read_again(broker):
    ensure_topics(broker)
    for text in (b"a", b"b"):
        produce(broker["bootstrap.servers"], "id", text)
    assert [m.value() for m in read(broker, JOB_TOPIC, 2)] == [b"a", b"b"]
    produce(broker["bootstrap.servers"], "id", b"c")
    assert [m.value() for m in read(broker, JOB_TOPIC, 1)] == [b"c"]


def test_dead_letters_keep_their_bytes_and_say_why(broker):
    ensure_topics(broker)
    produce(broker["bootstrap.servers"], "key", b"\xff\xfe")
    (message,) = read(broker, JOB_TOPIC, 1)
    reason = "no job: “straße”"
    send_dead_letters(Producer(broker), [(message, SubmitResult(None, JobState.REJECTED, reason))])
    (letter,) = read(broker, DEAD_LETTER_TOPIC, 1)
    assert (letter.key(), letter.value()) == (b"key", b"\xff\xfe")
    headers = dict(letter.headers())
    assert headers["reason"].decode() == reason
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"nerfConfigs", b"0", b"0")


def test_a_dead_letter_that_cannot_be_delivered_is_an_error(broker, tmp_path):
    ensure_topics(broker)
    produce(broker["bootstrap.servers"], "key", b"x")
    (message,) = read(broker, JOB_TOPIC, 1)
    nowhere = Producer({"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 500, "log_level": 0})
    with pytest.raises(KafkaException):
        send_dead_letters(nowhere, [(message, SubmitResult(None, JobState.REJECTED, "reason"))])
    assert Path(tmp_path / "broker.log").exists()

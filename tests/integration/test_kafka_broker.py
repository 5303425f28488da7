"""The embedded broker does what the ingestor relies on."""

import time

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from jsonschema import Draft202012Validator

from actors.dead_letters import DeadLetters, headers_of
from actors.names import DEAD_LETTER_TOPIC, JOB_TOPIC, STATUS_TOPIC
from actors.topics import ensure_topics
from anerf.jobs.news_schema import dead_letter_schema
from cluster.broker import start_broker
from cluster.processes import stop
from cluster.send import produce

pytestmark = pytest.mark.integration
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


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
        produce(broker, "id", text)
    assert [m.value() for m in read(broker, JOB_TOPIC, 2)] == [b"a", b"b"]
    produce(broker, "id", b"c")
    assert [m.value() for m in read(broker, JOB_TOPIC, 1)] == [b"c"]


def arrive(letters, letter, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not letter.delivered and time.monotonic() < deadline:
        letters.poll(0.1)
    return letter.delivered


def test_dead_letters_keep_their_bytes_and_say_why(broker):
    ensure_topics(broker)
    produce(broker, "key", b"\xff\xfe", TRACE)
    (message,) = read(broker, JOB_TOPIC, 1)
    reason = "no job: “straße”"
    letters = DeadLetters(broker)
    assert arrive(letters, letters.send(message, headers_of(message), reason), 10)
    (letter,) = read(broker, DEAD_LETTER_TOPIC, 1)
    assert (letter.key(), letter.value()) == (b"key", b"\xff\xfe")
    headers = dict(letter.headers())
    assert headers["reason"].decode() == reason
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"nerfConfigs", b"0", b"0")
    assert (headers["traceparent"], headers["anerf-version"]) == (TRACE.encode(), b"1")
    Draft202012Validator(dead_letter_schema()).validate({k: v.decode() for k, v in headers.items()})


def test_a_dead_letter_is_sent_until_the_broker_has_it(broker, tmp_path, monkeypatch):
    monkeypatch.setattr("actors.dead_letters._TIMEOUT_MS", 500)
    ensure_topics(broker)
    produce(broker, "key", b"x")
    (message,) = read(broker, JOB_TOPIC, 1)
    other = tmp_path / "other"
    other.mkdir()
    process, port = start_broker(other, other / "broker.log")
    stop(other, [process], grace_s=2.0)
    away = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    letters = DeadLetters(away)
    letter = letters.send(message, (), "reason")
    assert not arrive(letters, letter, 1.5)
    process, again = start_broker(other, other / "broker.log", port)
    try:
        assert again == port
        ensure_topics(away)
        assert arrive(letters, letter, 20)
    finally:
        stop(other, [process], grace_s=2.0)

"""The inbox on real brokers: whatever comes in, whoever joins, leaves or dies, each job takes effect once."""

import ctypes
import json
import os
import random
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from actors.inbox import Inbox
from actors.mediator import take_in
from actors.names import CONSUMER_GROUP, DEAD_LETTER_TOPIC, JOB_TOPIC
from actors.topics import ensure_topics
from anerf.jobs.folder import read_accepted_job
from anerf.jobs.table import JobTable
from cluster.broker import start_broker
from cluster.processes import members, stop

pytestmark = pytest.mark.integration
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TableDesk:
    """The Mediator's own admission, in this process: what the actor does under its lock."""

    def __init__(self, out, queue_limit=100_000, lock=None):
        self.table, self.base, self.limit = JobTable(out), out, queue_limit
        self.lock = lock or threading.Lock()
        self.is_open = True
        self.new = []
        self._deliveries = ()

    def send(self, deliveries):
        self._deliveries = deliveries

    def answers(self):
        if not self.is_open:
            return None
        with self.lock:
            found = take_in(self.table, self._deliveries, self.base, self.limit)
        self.new += [answer.job_id for answer in found if answer.new]
        return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("broker")
    process, port = start_broker(tmp_path, tmp_path / "broker.log")
    settings = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    ensure_topics(settings)
    yield settings
    stop(tmp_path, [process], grace_s=2.0)


@pytest.fixture
def mock_cluster():
    """librdkafka's own cluster of three brokers, with four partitions a topic."""
    owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 3, "log_level": 0})
    brokers = owner.list_topics(timeout=10).brokers.values()
    settings = {"bootstrap.servers": ",".join(f"{b.host}:{b.port}" for b in brokers), "log_level": 0}
    admin = AdminClient(settings)
    for topic in (JOB_TOPIC, DEAD_LETTER_TOPIC):
        admin.list_topics(topic, timeout=10)
    yield settings
    del owner


def job(job_id, **fields):
    return json.dumps({"op": "train", "scene": "/s", "job_id": job_id, **fields}).encode()


def put(settings, messages):
    """Produce (key, value, headers) each."""
    producer = Producer({**settings, "message.max.bytes": 20_000_000})
    for key, value, headers in messages:
        producer.produce(JOB_TOPIC, key=key, value=value, headers=headers)
        producer.poll(0)
    assert producer.flush(30) == 0


def step_until(inbox, condition, timeout_s=40.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, inbox.status()
        inbox.step()


def letters(settings, enough):
    """Dead letters, read until there are enough of them."""
    consumer = Consumer({**settings, "group.id": "letters", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(DEAD_LETTER_TOPIC, 0, 0)])
    found, deadline = [], time.monotonic() + 30
    while not enough(found):
        assert time.monotonic() < deadline, f"{len(found)} letters"
        found += [m for m in consumer.consume(1000, 0.5) if m.error() is None]
    consumer.close()
    return found


def garbage(rng, n):
    """Messages that are no jobs, of every kind that we can think of."""
    makers = [
        lambda: rng.randbytes(rng.randrange(200)) + b"\xff",
        lambda: b"",
        lambda: None,
        lambda: b"[" * rng.randrange(1, 50_000),
        lambda: b'{"a":' * rng.randrange(1, 5_000),
        lambda: b'{"scene": "s", "lr": NaN}',
        lambda: b'{"scene": "s", "scene": "s"}',
        lambda: b'{"scene": "s", "seed": ' + b"9" * 5000 + b"}",
        lambda: json.dumps({f"k{i}": i for i in range(rng.randrange(1, 100))}).encode(),
        lambda: job("../../etc/cron.d/x"),
        lambda: job("x\n"),
        lambda: job("x", scene="\0"),
        lambda: b'"text"',
        lambda: b"\xef\xbb\xbf",
    ]
    return [rng.choice(makers)() for _ in range(n)]


def test_ten_thousand_garbage_messages_are_set_aside_and_jobs_among_them_taken(broker, tmp_path):
    rng = random.Random(7)
    values = garbage(rng, 10_000)
    values[5000] = b"x" * 5_000_000
    messages = [(f"k{i}".encode(), value, [("mine", b"\xff\x00")]) for i, value in enumerate(values)]
    for i in range(20):
        messages.insert(i * 500, (None, job(f"good-{i}"), None))
    put(broker, messages)
    desk = TableDesk(tmp_path / "out")
    inbox = Inbox(broker, desk, lambda: None)
    started = time.monotonic()
    step_until(inbox, lambda: inbox.status().accepted == 20 and inbox.status().dead_letters == 10_000)
    step_until(inbox, lambda: inbox.status().waiting == 0)
    assert time.monotonic() - started < 30
    inbox.close()
    assert desk.new == [f"good-{i}" for i in range(20)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(desk.new)
    found = letters(broker, lambda found: len(found) >= 10_000)
    assert len(found) == 10_000
    by_key = {m.key(): m for m in found}
    for i, value in enumerate(values):
        letter = by_key[f"k{i}".encode()]
        assert letter.value() == value or len(value) == 5_000_000
        headers = dict(letter.headers())
        assert headers["mine"] == b"\xff\x00"
        assert headers["reason"].startswith(b"the job message")
        assert (headers["topic"], headers["partition"]) == (JOB_TOPIC.encode(), b"0")
    large = by_key[b"k5000"]
    assert large.value() == values[5000] or dict(large.headers())["cut-from-bytes"] == b"5000000"


def test_headers_are_read_and_newer_formats_refused(broker, tmp_path):
    put(
        broker,
        [
            (b"a", job("traced"), [("traceparent", TRACE), ("anerf-version", b"1")]),
            (b"b", job("newer"), [("traceparent", TRACE), ("anerf-version", b"2")]),
        ],
    )
    desk = TableDesk(tmp_path / "out")
    inbox = Inbox(broker, desk, lambda: None)
    step_until(inbox, lambda: inbox.status().accepted + inbox.status().dead_letters == 2)
    step_until(inbox, lambda: inbox.status().waiting == 0)
    inbox.close()
    accepted = read_accepted_job(tmp_path / "out" / "traced")
    assert accepted.traceparent == TRACE
    assert accepted.log.read()[0][0]["traceparent"] == TRACE
    letter = letters(broker, lambda found: found and found[-1].key() == b"b")[-1]
    headers = dict(letter.headers())
    assert headers["reason"].startswith(b"the job message is of version 2")
    assert headers["traceparent"] == TRACE.encode()


def put_with_odd_header(settings, name):
    """A message with a header of such a name, as other languages' clients send it: Python's takes text."""
    (file,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*.so*")
    library, why = ctypes.CDLL(str(file)), ctypes.create_string_buffer(512)
    for function in (library.rd_kafka_conf_new, library.rd_kafka_new):
        function.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    servers = settings["bootstrap.servers"].encode()
    assert library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers, why, ctypes.c_size_t(512)) == 0
    producer = ctypes.c_void_p(library.rd_kafka_new(0, conf, why, ctypes.c_size_t(512)))
    topic, header, end = 1, 9, 0  # rd_kafka_vtype_t
    odd = (header, ctypes.c_char_p(name), ctypes.c_char_p(b"x"), ctypes.c_ssize_t(1))
    assert library.rd_kafka_producev(producer, topic, ctypes.c_char_p(JOB_TOPIC.encode()), *odd, end) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)


def test_a_header_name_that_is_no_text_is_set_aside(mock_cluster, tmp_path, caplog):
    inbox = Inbox(mock_cluster, TableDesk(tmp_path / "out"), lambda: None)
    # Python must be used to the call that fails: it looks less closely then whether it did.
    put(mock_cluster, [(f"k{i}".encode(), job(f"j{i}"), None) for i in range(30)])
    step_until(inbox, lambda: inbox.status().accepted == 30)
    put_with_odd_header(mock_cluster, b"tr\xff\xfe")
    put(mock_cluster, [(b"a", job("behind"), None)])
    step_until(inbox, lambda: inbox.status().accepted == 31 and inbox.status().dead_letters == 1)
    step_until(inbox, lambda: inbox.status().waiting == 0)
    inbox.close()
    assert "has a header whose name is not UTF-8" in caplog.text


def test_a_pause_ends_with_its_assignment(mock_cluster, tmp_path):
    lock, stopping = threading.Lock(), threading.Event()
    desk, others = (TableDesk(tmp_path / "out", lock=lock) for _ in range(2))
    desk.is_open = False
    put(mock_cluster, [(f"k{i}".encode(), job(f"j{i}"), None) for i in range(60)])
    inbox = Inbox(mock_cluster, desk, lambda: None, max_waiting=10)
    step_until(inbox, lambda: inbox.status().paused)

    def read():
        other = Inbox(mock_cluster, others, lambda: None)
        while not stopping.is_set():
            other.step()
        other.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        step_until(inbox, lambda: others.new and inbox.status().paused)
        desk.is_open = True
        step_until(inbox, lambda: len(desk.new) + len(others.new) == 60)
    finally:
        stopping.set()
        thread.join()
        inbox.close()
    assert min(len(desk.new), len(others.new)) > 10


def held(inbox, seconds):
    """The longest time between two polls, while it stays paused for so long."""
    step_until(inbox, lambda: inbox.status().paused)
    polled = [time.monotonic()]
    step_until(inbox, lambda: polled.append(time.monotonic()) or polled[-1] > polled[0] + seconds)
    return max(b - a for a, b in pairwise(polled))


def test_a_full_queue_pauses_reading_and_nobody_is_evicted(mock_cluster, tmp_path):
    n = 150
    put(mock_cluster, [(b"k", job(f"j{i}"), None) for i in range(n)])
    desk = TableDesk(tmp_path / "out", queue_limit=30)
    desk.is_open = False
    settings = {
        **mock_cluster,
        "max.poll.interval.ms": 2500,
        "session.timeout.ms": 2500,
        "heartbeat.interval.ms": 500,
    }
    inbox = Inbox(settings, desk, lambda: None, max_waiting=40)
    # Longer than a consumer may go without polling. If we went without for so long, it is right to evict us.
    while held(inbox, 4.0) > 1.2:
        pass
    assert inbox.status().assigned
    assert inbox.status().paused
    assert 40 <= inbox.status().waiting <= 80
    desk.is_open = True
    step_until(inbox, lambda: inbox.status().accepted == 30)
    until = time.monotonic() + 1.0
    step_until(inbox, lambda: time.monotonic() > until)
    assert len(desk.new) == 30, "the queue is longer than its limit"
    desk.limit = n
    step_until(inbox, lambda: len(desk.new) == n and inbox.status().waiting == 0)
    assert len(set(desk.new)) == n
    assert not inbox.status().paused
    inbox.close()


def test_readers_come_and_go_and_each_job_takes_effect_once(mock_cluster, tmp_path):
    n, out, lock = 150, tmp_path / "out", threading.Lock()
    desks = [TableDesk(out, lock=lock) for _ in range(2)]
    stopping, read_by = [threading.Event() for _ in desks], [False for _ in desks]

    def read(i):
        inbox = Inbox(mock_cluster, desks[i], lambda: None)
        while not stopping[i].is_set():
            inbox.step()
            read_by[i] = inbox.status().assigned
        inbox.close()

    def taken():
        return sum(len(desk.new) for desk in desks)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    threads[0].start()
    put(mock_cluster, [(f"k{i}".encode(), job(f"j{i}"), None) for i in range(n)])
    deadline = time.monotonic() + 40
    while taken() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    threads[1].start()
    while not read_by[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    put(mock_cluster, [(f"m{i}".encode(), job(f"m{i}"), None) for i in range(n)])
    stopping[0].set()
    while taken() < 2 * n:
        assert time.monotonic() < deadline, taken()
        time.sleep(0.05)
    for event in stopping:
        event.set()
    for thread in threads:
        thread.join()
    everything = [job_id for desk in desks for job_id in desk.new]
    assert len(everything) == len(set(everything)) == 2 * n
    consumer = Consumer({**mock_cluster, "group.id": CONSUMER_GROUP})
    partitions = [TopicPartition(JOB_TOPIC, p) for p in range(4)]
    for committed in consumer.committed(partitions, timeout=10):
        end = consumer.get_watermark_offsets(committed, timeout=10)[1]
        assert committed.offset == end, "an offset is lost"
    consumer.close()


def kill_broker(mark, leader):
    """SIGKILL for the broker itself, not for what watches over it."""
    while not (brokers := [p for p in members(mark, [leader]) if p != leader]):
        time.sleep(0.1)
    os.kill(brokers[0].pid, signal.SIGKILL)


def test_a_broker_killed_again_and_again_loses_nothing_and_nothing_is_done_twice(tmp_path):
    process, port = start_broker(tmp_path, tmp_path / "broker.log", folder=tmp_path / "kafka")
    settings = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0, "reconnect.backoff.max.ms": 500}
    failures, n = [], 120

    def told(error, _message):
        failures.append(error) if error is not None else None

    def send():
        producer = Producer(settings)
        for i in range(n):
            producer.produce(JOB_TOPIC, job(f"j{i}"), on_delivery=told)
            producer.poll(0.02)
        assert producer.flush(40) == 0

    try:
        ensure_topics(settings)
        desk = TableDesk(tmp_path / "out")
        inbox = Inbox(settings, desk, lambda: None)
        sender = threading.Thread(target=send)
        sender.start()
        for kill in range(2):
            step_until(inbox, lambda kill=kill: len(desk.new) > kill * 40)
            kill_broker(tmp_path, process)
        step_until(inbox, lambda: not sender.is_alive())
        assert not failures
        step_until(inbox, lambda: len(desk.new) == n and inbox.status().waiting == 0)
        assert len(set(desk.new)) == n
        inbox.close()
        # Killed with all that watches over it, and started again: what was dealt with is not read again.
        kill_broker(tmp_path, process)
        os.kill(process.pid, signal.SIGKILL)
        stop(tmp_path, [process], grace_s=1.0)
        process, port = start_broker(tmp_path, tmp_path / "broker.log", folder=tmp_path / "kafka")
        settings["bootstrap.servers"] = f"127.0.0.1:{port}"
        put(settings, [(b"k", job("last"), None)])
        inbox = Inbox(settings, desk, lambda: None)
        step_until(inbox, lambda: desk.new[-1] == "last" and inbox.status().waiting == 0)
        assert inbox.status().accepted < n
        inbox.close()
    finally:
        stop(tmp_path, [process], grace_s=5.0)
    assert members(tmp_path, [process]) == []


@pytest.mark.parametrize("max_waiting", [100, 10], ids=["all read", "paused"])
def test_the_lag_is_what_has_not_been_dealt_with(mock_cluster, tmp_path, max_waiting, monkeypatch):
    monkeypatch.setattr("actors.inbox._ASK_EVERY_S", 0.5)
    put(mock_cluster, [(f"k{i}".encode(), job(f"j{i}"), None) for i in range(30)])
    desk = TableDesk(tmp_path / "out")
    desk.is_open = False
    often = {**mock_cluster, "statistics.interval.ms": 100}
    inbox = Inbox(often, desk, lambda: None, max_waiting=max_waiting)
    step_until(inbox, lambda: inbox.status().lag == 30)
    assert inbox.status().paused == (max_waiting < 30)
    put(mock_cluster, [(f"m{i}".encode(), job(f"m{i}"), None) for i in range(30)])
    step_until(inbox, lambda: inbox.status().lag == 60)
    desk.is_open = True
    step_until(inbox, lambda: inbox.status().lag == 0)
    assert inbox.status().accepted == 60
    inbox.close()
    again = Inbox(often, TableDesk(tmp_path / "out"), lambda: None)
    put(mock_cluster, [(b"k", job("more"), None)])
    step_until(again, lambda: again.status().accepted == 1 and again.status().lag == 0)
    again.close()

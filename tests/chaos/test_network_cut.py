"""The broker lives in a network namespace of its own, and the cable to it is cut: packets vanish untold."""

import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from actors.inbox import Inbox
from actors.names import CONSUMER_GROUP, JOB_TOPIC
from actors.topics import ensure_topics
from cluster.broker import broker_binary
from tests.integration.test_kafka_inbox import TableDesk, job, step_until

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

HERE, THERE = "10.213.77.1", "10.213.77.2"
PORT = 9092
CUT_S = 6.0  # and a second before: longer than the session of the inbox lasts without a word


@dataclass(frozen=True)
class Cable:
    """A veth pair between this network namespace and that of process `pid`."""

    pid: int

    @property
    def name(self) -> str:
        return f"cut{self.pid}"

    def lay(self) -> None:
        """Connect both, with an address each."""
        run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "up0", "netns", str(self.pid))
        run("ip", "addr", "add", f"{HERE}/30", "dev", self.name)
        self.inside("ip", "addr", "add", f"{THERE}/30", "dev", "up0")
        self.inside("ip", "link", "set", "up0", "up")
        self.mend()

    def cut(self) -> None:
        """From now on nothing passes."""
        run("ip", "link", "set", self.name, "down")

    def mend(self) -> None:
        """Let packets pass."""
        run("ip", "link", "set", self.name, "up")

    def inside(self, *command: str) -> None:
        """Run a command in the other namespace."""
        run("nsenter", "--target", str(self.pid), "--net", *command)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def spin(inbox: Inbox, seconds: float) -> None:
    until = time.monotonic() + seconds
    step_until(inbox, lambda: time.monotonic() > until)


def settle(inbox: Inbox, seconds: float) -> None:
    """Until what had come through before is dealt with: after many looks, however long one of them takes."""
    until, looks = time.monotonic() + seconds, itertools.count()
    step_until(inbox, lambda: next(looks) >= 20 and inbox.status().waiting == 0 and time.monotonic() > until)


def namespace(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net").readlink()


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("ip", "unshare", "nsenter")):
        pytest.skip("a network namespace needs root, and ip, unshare and nsenter")
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as holder:
        try:
            while namespace(holder.pid) == namespace(os.getpid()):
                time.sleep(0.02)
            cable = Cable(holder.pid)
            cable.lay()
            yield cable
        finally:
            holder.kill()  # with the namespace its end of the cable goes, and so does ours


@pytest.fixture
def settings(cable: Cable) -> Iterator[dict[str, object]]:
    url = f"tcp://{THERE}:{PORT}"
    command = [
        "nsenter", "--target", str(cable.pid), "--net", broker_binary(), "broker", "--listener-url", url,
        "--advertised-listener-url", url, "--storage-engine", "memory://tansu/",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as broker:
        try:
            yield {
                "bootstrap.servers": f"{THERE}:{PORT}",
                "log_level": 0,
                "socket.timeout.ms": 2000,
                "reconnect.backoff.max.ms": 500,
            }
        finally:
            broker.kill()


def test_a_cut_cable_loses_nothing_and_nothing_is_done_twice(cable, settings, tmp_path):
    ensure_topics(settings)
    n, failures = 90, []

    def send():
        producer = Producer(settings)
        for i in range(n):
            producer.produce(JOB_TOPIC, job(f"j{i}"), on_delivery=lambda error, _: failures.append(error))
            producer.poll(0.1)
        assert producer.flush(60) == 0

    desk = TableDesk(tmp_path / "out")
    inbox = Inbox(settings, desk, lambda: None)
    sender = threading.Thread(target=send)
    sender.start()
    for third in (1, 2):
        step_until(inbox, lambda third=third: len(desk.new) >= third * n // 4)
        cable.cut()
        settle(inbox, 1.0)
        taken = len(desk.new)
        spin(inbox, CUT_S)
        assert len(desk.new) == taken, "the cable was not cut"
        cable.mend()
    step_until(inbox, lambda: not sender.is_alive() and len(desk.new) >= n, timeout_s=90)
    step_until(inbox, lambda: inbox.status().waiting == 0)
    inbox.close()
    assert [error for error in failures if error is not None] == []
    assert sorted(desk.new) == sorted(f"j{i}" for i in range(n)), "each once"
    consumer = Consumer({**settings, "group.id": CONSUMER_GROUP})
    (committed,) = consumer.committed([TopicPartition(JOB_TOPIC, 0)], timeout=10)
    consumer.close()
    assert committed.offset >= n, "an offset is lost"

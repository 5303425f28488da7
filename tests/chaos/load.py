"""The messages of a chaos run: what is sent when, and what must come of it."""

import contextlib
import json
import random
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from actors.names import JOB_TOPIC
from anerf.errors import StackError
from tests.stack_place import Place

_DELIVERY_S = 120.0


@dataclass(frozen=True)
class Sending:
    """One message: when (a share of the time), under which key, and its bytes."""

    when: float
    key: str
    value: bytes


@dataclass
class Load:
    """So many messages: valid jobs, some of them twice, some cancelled; and some that are no jobs."""

    valid: int
    doubled: int
    invalid: int
    cancelled: int
    seed: int
    job: Mapping[str, Any]
    sendings: list[Sending] = field(default_factory=list)
    cancels: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        for n in range(self.valid):
            self._add(dice.uniform(0, 0.9), f"job-{n:03d}")
        for sending in dice.sample(self.sendings, self.doubled):
            self.sendings.append(Sending(dice.uniform(0, 1), sending.key, sending.value))
        for n in range(self.cancelled):
            when = dice.uniform(0, 0.9)
            self._add(when, f"cancelled-{n:03d}", outer_steps=dice.choice([12, 400]))
            self.cancels.append((when + dice.uniform(0, 0.1), f"cancelled-{n:03d}"))
        for n in range(self.invalid):
            key = f"invalid-{n:03d}"
            self.sendings.append(Sending(dice.uniform(0, 1), key, _no_job(dice, key, self.job)))
        self.sendings.sort(key=lambda s: s.when)
        self.cancels.sort()

    def _add(self, when: float, job_id: str, **fields: Any) -> None:
        self.sendings.append(
            Sending(when, job_id, json.dumps({**self.job, **fields, "job_id": job_id}).encode())
        )

    @property
    def job_ids(self) -> set[str]:
        """The jobs that must exist in the end."""
        return {s.key for s in self.sendings if not s.key.startswith("invalid")}

    def refused(self) -> dict[str, bytes]:
        """What must be among the dead letters, by key."""
        return {s.key: s.value for s in self.sendings if s.key.startswith("invalid")}

    def send(self, place: Place, seconds: float) -> None:
        """Send each message at its time, until the broker has it, whatever happens to that meanwhile."""
        began = time.monotonic()
        for sending in self.sendings:
            time.sleep(max(0.0, began + sending.when * seconds - time.monotonic()))
            while not _sent(place, sending):
                time.sleep(1.0)

    def cancel(self, place: Place, seconds: float) -> None:
        """Cancel each job at its time, or as soon as it has arrived."""
        began = time.monotonic()
        for when, job_id in self.cancels:
            time.sleep(max(0.0, began + when * seconds - time.monotonic()))
            while job_id not in _told(place, "cancel", job_id, "--json"):
                time.sleep(0.5)
            while "there is no job" in _told(place, "show", job_id):
                time.sleep(0.5)
                _told(place, "cancel", job_id)


def _told(place: Place, *arguments: str) -> str:
    """What `anerf jobs` says, which may hang with what it asks: then it is asked again."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return place.anerf("jobs", *arguments, status=None, timeout_s=120)


def _sent(place: Place, sending: Sending) -> bool:
    arrived = threading.Event()
    try:
        servers = place.stack.bootstrap_servers
    except StackError:  # it is being brought up again
        return False
    producer = Producer(
        {"bootstrap.servers": servers, "acks": "all", "message.timeout.ms": 10_000, "log_level": 0}
    )
    producer.produce(
        JOB_TOPIC, sending.value, sending.key, on_delivery=lambda error, _: error is None and arrived.set()
    )
    producer.flush(_DELIVERY_S)
    return arrived.is_set()


def _no_job(dice: random.Random, key: str, job: Mapping[str, Any]) -> bytes:
    """Something that is no job; the key is in it, where bytes are text."""
    wrong: list[bytes] = [
        bytes(dice.randrange(256) for _ in range(dice.randrange(1, 200))) + b"\xff",
        json.dumps({**job, "job_id": key, "outer_stepps": 3}).encode(),
        json.dumps({**job, "job_id": f"../{key}"}).encode(),
        json.dumps({**job, "job_id": key, "outer_steps": "3"}).encode(),
        json.dumps([key]).encode(),
        b"",
    ]
    return dice.choice(wrong)

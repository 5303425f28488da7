"""Kills a stack's processes at random, for a while."""

import collections
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from cluster.processes import Process
from tests.stack_place import Place, processes

KINDS = {
    "ray::Mediator": 2,
    "ray::KafkaIngestor": 2,
    "ray::MetaCoordinator": 3,
    "ray::ExpertActor": 5,
    "ray::_score_views": 1,
    "ray::IDLE": 1,
    "tansu broker": 1,
    "cluster.durable_broker": 0.15,
    "everything": 0.15,
    "frozen": 1,
}
"""What is hit, by the title of its process, and how often relative to the others."""
FREEZE_S = (0.5, 4.0)


@dataclass
class Storm:
    """Hits a random process every `pause_s` seconds; the same seed makes the same choices of kind."""

    place: Place
    up: tuple[str, ...]
    seed: int
    pause_s: tuple[float, float] = (0.5, 4.0)
    hits: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def rage(self, seconds: float) -> None:
        """Go on for so long; the stack is brought up again whenever all of it was killed."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, self._random.uniform(*self.pause_s)))
            kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
            if kind == "everything":
                self.place.kill_everything()
                self.place.anerf(*self.up)
            elif kind == "frozen":
                self._freeze()
            elif (victim := self._one_of(kind)) is None or not _kill(victim):
                continue
            self.hits[kind] += 1
            if kind == "cluster.durable_broker":  # nobody watches over it but whoever looks after the stack
                self.place.anerf(*self.up)

    def _one_of(self, title: str) -> Process | None:
        found = [p for p in processes(self.place.stack) if _is(p, title)]
        return self._random.choice(sorted(found, key=lambda p: p.pid)) if found else None

    def _freeze(self) -> None:
        """Stop a process for some seconds: it lives, and does not answer."""
        victim = self._one_of(
            self._random.choice(["ray::KafkaIngestor", "ray::Mediator", "ray::ExpertActor", "tansu broker"])
        )
        if victim is not None and victim.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGSTOP)
                time.sleep(self._random.uniform(*FREEZE_S))
                os.kill(victim.pid, signal.SIGCONT)


def _is(process: Process, title: str) -> bool:
    """Whether a process's command line begins so, its folder and interpreter aside."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    except OSError:  # it has just ended
        return False
    if "-m" in words[:3]:
        words = words[words.index("-m") + 1 :]
    return " ".join([Path(words[0]).name, *words[1:]]).startswith(title)


def _kill(process: Process) -> bool:
    if not process.is_alive():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    return True

"""Which of a raylet's processes count as idle."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from actors.warmth import n_idle


@contextmanager
def child(title: str) -> Iterator[None]:
    """A process of ours that calls itself so."""
    with subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60', title]) as process:
        try:
            yield
        finally:
            process.kill()


def test_those_that_wait_and_those_that_start_count_and_no_others():
    titles = [
        "ray::IDLE",
        "ray::IDLE_SpillWorker",
        "python default_worker.py",
        "ray::ExpertActor.each",
        "cat",
    ]
    before = n_idle(os.getpid())
    with ExitStack() as stack:
        for title in titles:
            stack.enter_context(child(title))
        deadline = time.monotonic() + 20
        while n_idle(os.getpid()) != before + 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert n_idle(os.getpid()) == before + 3
        assert n_idle(os.getppid()) == 0
    assert n_idle(os.getpid()) == before

"""Which of a raylet's processes count as idle."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc

from actors.warmth import WarmWorkers, n_idle


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


def test_a_raylet_that_answers_late_is_asked_again(monkeypatch, caplog):
    class Late:
        asked = 0

        def PrestartWorkers(self, request, timeout):  # noqa: N802
            self.asked += 1
            raise grpc.RpcError("deadline exceeded")

    warm = WarmWorkers.__new__(WarmWorkers)  # without Ray
    raylet = Late()
    vars(warm).update(_n=3, _raylet=raylet)
    monkeypatch.setattr("actors.warmth.n_idle", lambda _: 1)
    assert [warm.top_up(), warm.top_up()] == [2, 2]
    assert raylet.asked == 2
    assert "trying again: deadline exceeded" in caplog.text

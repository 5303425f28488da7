"""Threads that render give way to those that learn, and do not wait for running jobs."""

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from actors.live import LiveModel
from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import read_manifest
from serve_apps.admission import RenderersAway
from serve_apps.renderers import RenderThread
from serve_apps.requests import RenderRequest
from serve_apps.service import RenderService
from serve_apps.source import RunningSource, find_source

PROGRAM = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from serve_apps.renderers import give_way

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

os.nice(int(sys.argv[1]))
with ThreadPoolExecutor(1, initializer=give_way, initargs=(int(sys.argv[2]),)) as rendering:
    renderer = rendering.submit(niceness).result()
    with rendering.submit(ThreadPoolExecutor, 1).result() as kernel:
        started_by_it = rendering.submit(lambda: kernel.submit(niceness)).result().result()
print(niceness(), renderer, started_by_it)
"""


# Ray's workers have 15. Less than the process has is for the administrator alone.
@pytest.mark.parametrize(("nicer_by", "levels"), [(0, 5), (15, 5)])
def test_renderers_give_way_to_others_whatever_niceness_the_process_has(nicer_by, levels):
    of_process = min(os.getpriority(os.PRIO_PROCESS, 0) + nicer_by, 19)
    of_renderer = min(of_process + levels, 19)
    program = [sys.executable, "-c", PROGRAM, str(nicer_by), str(levels)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n) for n in (of_process, of_renderer, of_renderer)]


PROMPT_S = 20
"""On a machine that does other things too; a job lets those who look at it wait for longer here."""


class Job:
    """A running job, which has something to show once `begins` is set."""

    def __init__(self, folder):
        self.begins, self.looks = threading.Event(), Counter()
        self.first = LiveModel("run-1", 7, load_scene_model(folder), read_manifest(folder))

    def newest(self, job_id):
        self.looks[job_id] += 1
        if not self.begins.wait(60):
            raise RenderersAway("nothing to show")
        return self.first


@pytest.fixture
def saved(out_root):
    return find_source(out_root, "demo", "last")


@pytest.fixture
def job(saved):
    job = Job(saved.folder)
    yield job
    job.begins.set()


def test_nobody_waits_for_a_running_job_but_those_who_look_at_it(job, saved, down):
    renderer = RenderThread(RenderService(), newest=job.newest)
    request = RenderRequest(checkpoint="demo", c2w=down, width=8, height=8, samples=4)

    async def tile(source):
        part, _ = await renderer.do("tile", source, request, (0, 8))
        return part.shown.mark, part.shown.step

    async def ask():
        pollers = [asyncio.create_task(tile(RunningSource("loads"))) for _ in range(20)]
        async with asyncio.timeout(PROMPT_S):
            assert await tile(saved) == (None, 200)
            pollers[0].cancel()  # as Serve does when a client goes away
            with pytest.raises(asyncio.CancelledError):
                await pollers[0]
        assert not any(poller.done() for poller in pollers[1:])
        assert job.looks == {"loads": 1}
        job.begins.set()
        async with asyncio.timeout(PROMPT_S):
            assert await asyncio.gather(*pollers[1:]) == [("run-1", 7)] * 19
            assert await tile(RunningSource("loads")) == ("run-1", 7)
        assert job.looks == {"loads": 2}

    asyncio.run(ask())

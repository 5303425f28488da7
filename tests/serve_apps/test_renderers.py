"""Threads that render give way to those that learn."""

import subprocess
import sys

import pytest

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
@pytest.mark.parametrize(("of_process", "levels", "of_renderer"), [(0, 5, 5), (15, 5, 19)])
def test_renderers_give_way_to_others_whatever_niceness_the_process_has(of_process, levels, of_renderer):
    program = [sys.executable, "-c", PROGRAM, str(of_process), str(levels)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n) for n in (of_process, of_renderer, of_renderer)]

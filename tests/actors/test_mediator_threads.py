"""What the Mediator does at once, and what it outlives; without Ray, each time in a process of its own."""

import subprocess
import sys
from pathlib import Path

from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import shutil, sys, threading, time
from pathlib import Path
from actors import mediator
from actors.limits import Limits
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable
from tests.actors.scheduler_bench import ThreadRunner

mediator.end_stale_jobs = mediator.end_orphans = mediator.metrics.tell_jobs = lambda *_: None
mediator.RayRunner = lambda *_: ThreadRunner(lambda *_: None)
OUT = sys.argv[1]

def await_end(mediator, job_id):
    until = time.monotonic() + 60
    while not mediator.show(job_id).record.state.is_terminal and time.monotonic() < until:
        time.sleep(0.05)
    print(mediator.show(job_id).record.state, flush=True)
"""


def told_by(program: str, out: Path) -> str:
    """What a program prints; its threads end with it."""
    whole = f"{HEAD}\n{program}\nimport os\nos._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", whole, str(out)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def table_of(out: Path, *ended: str) -> JobTable:
    table = JobTable(out)
    for job_id in ended:
        table.submit(parse_job({"op": "train", "scene": "/s", "job_id": job_id}), "kafka")
        table.change(job_id, JobState.RUNNING)
        table.change(job_id, JobState.SUCCEEDED)
    return table


def test_jobs_go_on_while_old_results_are_removed_and_forgotten(tmp_path):
    table_of(tmp_path, "old", "older")
    program = """
here, is_made, seen = threading.Event(), threading.Event(), []

def remove(folder):
    is_made.wait()
    seen.append(folder.name)
    if len(seen) > 1:
        here.set()
        threading.Event().wait()  # a slow disk
    shutil.rmtree(folder)
    with m._lock:
        m._table.forget_removed()
    return 1

mediator.remove_results = remove
m = mediator.Mediator(OUT, OUT, Limits(keep_days=0.0))
is_made.set()
assert here.wait(60), seen
m.submit(b'{"op": "train", "scene": "s", "job_id": "new"}')
await_end(m, "new")
"""
    assert told_by(program, tmp_path) == "SUCCEEDED"


def test_a_mediator_that_is_made_while_storage_is_away_takes_the_jobs_up_later(tmp_path):
    table = table_of(tmp_path)
    table.submit(parse_job({"op": "train", "scene": "/s", "job_id": "a"}), "kafka")
    program = """
refresh, away = JobTable.refresh, [True]

def fail_at_first(table):
    if away:
        away.clear()
        raise OSError(5, "Input/output error")
    refresh(table)

JobTable.refresh = fail_at_first
m = mediator.Mediator(OUT, OUT, Limits())
while not m.list():
    time.sleep(0.05)
await_end(m, "a")
"""
    assert told_by(program, tmp_path) == "SUCCEEDED"

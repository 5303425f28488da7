"""`anerf run`: do one job here and now, without Kafka and without the Mediator."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

from rich.console import Console

from anerf import logs
from anerf.errors import AnerfError, JobCancelled, JobError
from anerf.jobs.folder import JOB_FILE, AcceptedJob, accept_job, read_accepted_job
from anerf.jobs.spec import Job, fingerprint, parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable
from anerf.outage import is_outage, outage, telling_outages
from cluster.show import JobDisplay, measures
from cluster.stack import DEFAULT_OUT, alone, joined, read_stack

logger = logging.getLogger(__name__)

_TICK_S = 0.3
_STORAGE_PAUSE_S = 1.0


Calls = SimpleQueue[Literal["ended", "cancel"]]
"""What a run is woken for. A signal may come in the midst of any of its methods: this queue allows that."""


class JobFailed(AnerfError):
    """The job ended without success; its last event says why."""


def run(job: Path, /, out: Path = DEFAULT_OUT) -> None:
    """Run a job to its end, with its progress in the terminal; Ctrl-C cancels it.

    It runs in the Ray cluster that RAY_ADDRESS names, else in the stack that is up for this folder, else in a
    Ray of its own. A job that was interrupted goes on from its last checkpoint.

    Args:
        job: The job's JSON file; relative paths in it start at the current folder.
        out: Folder for jobs.
    """
    console = Console()
    out = out.absolute()
    wanted = parse_job(read_job_file(job)).resolved(Path.cwd())
    folder = out / wanted.job_id
    with alone(
        folder / ".run.lock", f"job {wanted.job_id} is being run by another `anerf run`: wait for it to end"
    ):
        with telling_outages(str(folder)):
            accepted = _take_on(wanted, out)
        record = JobTable(out).show(wanted.job_id).record
        if record.state is JobState.SUCCEEDED:
            console.print(f"Job {wanted.job_id} has succeeded already, see {folder} ({measures(record)})")
            return
        with _cluster(out, console):
            _drive(accepted, out, console)


def read_job_file(path: Path) -> bytes:
    """The bytes of a job file.

    Raises:
        JobError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise JobError(
            f"cannot read job file {path} ({error.strerror}): give the path of a JSON file"
        ) from error


def _take_on(job: Job, out: Path) -> AcceptedJob:
    folder = out / job.job_id
    if not (folder / JOB_FILE).exists():
        return accept_job(job, out, origin="run")
    accepted = read_accepted_job(folder)
    if fingerprint(accepted.job) != fingerprint(job):
        raise JobError(
            f"{folder} holds a job with other settings, see its {JOB_FILE}: give this one another `job_id`, "
            "or move the folder away"
        )
    if accepted.origin != "run":
        state = JobTable(out).show(job.job_id).record.state
        if state is not JobState.SUCCEEDED:
            raise JobError(
                f"job {job.job_id} came through Kafka and is {state}: follow it with `anerf jobs watch "
                f"{job.job_id}`, or give this one another `job_id`"
            )
    return accepted


@contextmanager
def _cluster(out: Path, console: Console) -> Iterator[None]:
    """Be a driver of a Ray cluster, started for the time being if there is none."""
    stack = read_stack(out)
    if address := os.environ.get("RAY_ADDRESS"):
        with joined(address, {}):
            yield
    elif stack is not None and stack.is_alive() and stack.ray_address is not None:
        with joined(stack.ray_address, stack.environment()):
            yield
    else:
        console.print("Starting Ray for this job")
        with own_ray():
            yield


@contextmanager
def own_ray() -> Iterator[None]:
    """Be a driver of a Ray of one's own inside the block."""
    from cluster.head import make_run_dir, make_token

    run_dir = make_run_dir()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(make_token(run_dir))}
    import ray

    from actors.names import NAMESPACE

    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(run_dir / "ray"),
    )
    try:
        yield
    finally:
        ray.shutdown()
        # Ray's last processes may still be writing their last lines.
        shutil.rmtree(run_dir, ignore_errors=True)


@contextmanager
def _signals_cancel(calls: Calls) -> Iterator[None]:
    """Inside the block to stop politely is to cancel.

    Also for a job runner's SIGTERM, and where a shell in the background had SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: calls.put("cancel"))
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def _drive(accepted: AcceptedJob, out: Path, console: Console) -> None:
    """Run the job to its end.

    Raises:
        JobFailed, JobCancelled: it did not succeed.
    """
    from actors.names import RUN_PREFIX
    from actors.runner import RayRunner
    from actors.scheduler import Scheduler

    logs.configure(logging.WARNING)
    job_id = accepted.job.job_id
    table = JobTable(out)
    table.adopt(accepted)
    table.take_news()
    calls: Calls = SimpleQueue()
    scheduler = Scheduler(table, RayRunner(RUN_PREFIX, lambda: calls.put("ended")), origin="run")
    if table.show(job_id).record.state.is_terminal:
        table.change(job_id, JobState.QUEUED, "started again by hand", attempt=0, failures=0)
    scheduler.put_back(table.unfinished())
    to_cancel = is_out = False
    with JobDisplay(job_id, console) as display, _signals_cancel(calls):
        while not table.show(job_id).record.state.is_terminal:
            try:
                if to_cancel:
                    scheduler.cancel(job_id)
                scheduler.tick()
                display.show([event for _, event in table.take_news()], table.show(job_id).record)
                is_out = False
                pause_s = scheduler.pause_s(_TICK_S)
            except FileNotFoundError as error:
                if (accepted.folder / JOB_FILE).exists():
                    raise
                raise JobError(
                    f"the folder of job {job_id}, {accepted.folder}, was removed while it ran: it ends here, "
                    "run it again to have it done"
                ) from error
            except OSError as error:
                if not is_outage(error):
                    raise
                if not is_out:
                    console.print(f"Waiting for storage: {outage(str(accepted.folder), error)}")
                is_out, pause_s = True, _STORAGE_PAUSE_S
            with suppress(Empty):
                if calls.get(timeout=pause_s) == "cancel" and not to_cancel:
                    console.print("Cancelling after the current step")
                    to_cancel = True
        record = table.show(job_id).record
        display.show([event for _, event in table.take_news()], record)
    if record.state is JobState.CANCELLED:
        raise JobCancelled(f"job {job_id} in {accepted.folder}: {record.message}")
    if record.state is not JobState.SUCCEEDED:
        raise JobFailed(f"job {job_id} failed: {record.message}")
    console.print(f"Results in {accepted.folder}")

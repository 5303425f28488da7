"""`anerf jobs`: ask the Mediator about jobs, follow them, cancel them."""

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from anerf.errors import JobError, StackError
from anerf.jobs.events import JobRecord, fold
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary
from anerf.outage import is_outage, outage
from cluster.run import JobFailed
from cluster.show import STYLES, AsJson, JobDisplay, JobId, StackFolder, measures, print_json
from cluster.stack import DEFAULT_OUT, joined_stack, mediator

_TIMEOUT_S = 30.0
_PERIOD_S = 0.5
_ARRIVAL_TIMEOUT_S = 10.0


def list_(out: StackFolder = DEFAULT_OUT, as_json: AsJson = False) -> None:
    """List all jobs with their states.

    Args:
        as_json: Print one JSON array.
    """
    with joined_stack(out):
        jobs: list[JobSummary] = _ask("list")
    if as_json:
        print_json([job.to_json() for job in jobs])
        return
    table = Table("job", "op", "state", "step", "", "accepted", box=None, pad_edge=False)
    for job in jobs:
        record = job.record
        step = f"{record.step}/{record.of_steps}" if record.of_steps else ""
        detail = measures(record) if record.state is not JobState.FAILED else record.message
        table.add_row(
            job.job_id, job.op, _state(record), step, Text(job.waiting_for or detail), job.accepted_at[:19]
        )
    Console().print(table)


def show(job_id: JobId, /, out: StackFolder = DEFAULT_OUT, as_json: AsJson = False) -> None:
    """Show one job: state, progress, why it waits or failed, where its results lie.

    Args:
        as_json: Print one JSON object.
    """
    with joined_stack(out):
        job: JobSummary = _ask("show", job_id)
    _print_job(job, as_json)


def watch(job_id: JobId, /, out: StackFolder = DEFAULT_OUT, as_json: AsJson = False) -> None:
    """Follow a job to its end; the exit status is 0 only if it succeeds. Ctrl-C stops watching, not the job.

    Args:
        as_json: Print every event as one JSON object a line.
    """
    console = Console()
    record, next_byte = JobRecord(), 0
    with joined_stack(out), JobDisplay(job_id, Console(quiet=as_json)) as display:
        _await_arrival(job_id)
        while not record.state.is_terminal:
            events, next_byte = _ask("events", job_id, next_byte)
            record = fold(events, record)
            if as_json:
                for event in events:
                    print_json(event)
            display.show(events, record)
            if not record.state.is_terminal:
                time.sleep(_PERIOD_S)
    if record.state is not JobState.SUCCEEDED:
        raise JobFailed(f"job {job_id} is {record.state}: {record.message}")
    if not as_json:
        console.print(f"{job_id}: {measures(record)}".rstrip(": "))


def cancel(job_id: JobId, /, out: StackFolder = DEFAULT_OUT, as_json: AsJson = False) -> None:
    """Cancel a job; its last checkpoint stays usable. Harmless on one that has ended.

    Args:
        as_json: Print one JSON object.
    """
    with joined_stack(out):
        job: JobSummary = _ask("cancel", job_id)
    _print_job(job, as_json)


def logs(job_id: JobId, /, out: StackFolder = DEFAULT_OUT, follow: bool = False) -> None:
    """Print a job's log.

    Args:
        follow: Go on printing until the job ends.
    """
    console = Console(soft_wrap=True)
    next_byte = 0
    with joined_stack(out):
        while True:
            # The state first: what is written before the end is then in the text that follows.
            ended = _ask("show", job_id).record.state.is_terminal
            text, next_byte = _ask("log_text", job_id, next_byte)
            console.out(text, end="", highlight=False)
            if not text and (ended or not follow):
                return
            if not text:
                time.sleep(_PERIOD_S)


def _await_arrival(job_id: str) -> None:
    """Wait for a job that has just been sent and may still be on its way.

    Raises:
        JobError: it does not arrive.
    """
    deadline = time.monotonic() + _ARRIVAL_TIMEOUT_S
    while True:
        try:
            _ask("show", job_id)
        except JobError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PERIOD_S)
        else:
            return


def _ask(method: str, *arguments: object) -> Any:
    """The Mediator's answer; its own errors come through as they are."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    try:
        return ray.get(getattr(mediator(), method).remote(*arguments), timeout=_TIMEOUT_S)
    except RayTaskError as error:
        if isinstance(error.cause, OSError) and is_outage(error.cause):
            raise outage("the folder of the jobs", error.cause) from error
        raise error.cause from error
    except (GetTimeoutError, RayActorError) as error:
        raise StackError(
            f"the Mediator does not answer ({type(error).__name__}): see `anerf status`"
        ) from error


def _state(record: JobRecord) -> Text:
    return Text(record.state, style=STYLES[record.state])


def _print_job(job: JobSummary, as_json: bool) -> None:
    if as_json:
        print_json(job.to_json())
        return
    record = job.record
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("job", f"{job.job_id} ({job.op}, came by {job.origin}, {job.accepted_at})")
    table.add_row(
        "state", _state(record).append(f" {record.message}" if record.message else "", style="none")
    )
    if record.of_steps:
        table.add_row("progress", f"step {record.step}/{record.of_steps} {measures(record)}")
    if job.waiting_for:
        table.add_row("waiting", job.waiting_for)
    table.add_row("folder", job.folder)
    Console(soft_wrap=True).print(table)

"""A job's progress in the terminal: a live bar where there is one, plain lines where there is not."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from anerf.jobs.events import Event, JobRecord
from anerf.jobs.states import JobState

STYLES = {
    JobState.QUEUED: "cyan",
    JobState.RUNNING: "blue",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
    JobState.REJECTED: "red",
}
_LINE_PERIOD_S = 5.0

AsJson = Annotated[bool, tyro.conf.arg(name="json")]
"""The option `--json` of commands that programs read too."""
JobId = Annotated[str, tyro.conf.arg(help="The job.")]
StackFolder = Annotated[Path, tyro.conf.arg(help="The stack's folder.")]


def print_json(value: object) -> None:
    """One line for a program to read, however wide the terminal is."""
    Console(soft_wrap=True).out(json.dumps(value), highlight=False)


def measures(record: JobRecord) -> str:
    """Loss, PSNR, rays a second and time left, as far as they are known."""
    parts = []
    if record.loss is not None:
        parts.append(f"loss {record.loss:.4g}")
    if record.psnr is not None:
        parts.append(f"PSNR {record.psnr:.2f} dB")
    if record.rays_per_s is not None:
        parts.append(f"{record.rays_per_s:,.0f} rays/s")
    if record.eta_s is not None and record.state is JobState.RUNNING:
        parts.append(f"{duration(record.eta_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class JobDisplay:
    """Shows one job's events as they come. Used as a context."""

    def __init__(self, job_id: str, console: Console) -> None:
        self._job_id = job_id
        self._console = console
        self._live = console.is_terminal
        self._next_line_at = 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        self._progress = Progress(*columns, console=console, transient=True)
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._bar = self._progress.add_task(self._job_id, total=None, told="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def show(self, events: Iterable[Event], record: JobRecord) -> None:
        """Print what is worth a line, and move the bar to where the record stands."""
        steps = False
        for event in events:
            steps |= event["kind"] == "progress"
            if text := _line(event):
                self._console.print(
                    Text(f"{event['at'][11:19]} {self._job_id} ").append(text), soft_wrap=True
                )
        told = (
            f"step {record.step}/{record.of_steps} {measures(record)}"
            if record.of_steps
            else str(record.state)
        )
        if self._bar is not None:
            self._progress.update(self._bar, completed=record.step, total=record.of_steps or None, told=told)
        elif steps and time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + _LINE_PERIOD_S
            self._console.print(Text(f"{record.updated_at[11:19]} {self._job_id} {told}"), soft_wrap=True)


def _line(event: Event) -> Text | None:
    """The line that an event deserves; progress moves the bar instead."""
    message = str(event.get("message") or "")
    match event["kind"]:
        case "state":
            state = JobState(event["state"])
            return Text(state, style=STYLES[state]).append(f": {message}" if message else "", style="none")
        case "expert_lost" | "expert_restored":
            what = event["kind"].removeprefix("expert_")
            return Text(f"expert {event.get('expert')} {what} at step {event.get('step')} {message}".rstrip())
        case "checkpoint":
            return Text(f"checkpoint at step {event.get('step')}")
        case "metrics":
            numbers = [f"{k} {v:.4g}" for k, v in event.items() if isinstance(v, int | float)]
            return Text("metrics: " + ", ".join(numbers))
        case "log":
            return Text(message)
        case _:
            return None

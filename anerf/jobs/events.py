"""The diary of a job: one JSON object a line, only ever appended, and what it adds up to."""

import errno
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from anerf.jobs.states import JobState

EVENTS_FILE = "events.jsonl"

Event = dict[str, Any]
"""A line of the diary: `at` (ISO 8601, UTC), `job_id`, `kind`, and what the kind brings."""


class Diary(Protocol):
    """Whatever takes a job's events."""

    def append(self, kind: str, **fields: Any) -> Event:
        """Write one event."""
        ...


class JobLog:
    """Appends to and reads a job's `events.jsonl`. Several processes may append; lines never mix.

    Kinds: `accepted`; `state` (state, message, attempt, failures, fault); `expired`; `progress` (step,
    of_steps, loss, psnr, rays_per_s, eta_s); `expert_lost` and `expert_restored` (expert, step, message);
    `checkpoint` (step, uri); `metrics` (numbers); `poses` (n_views, n_refused, median_m, median_deg,
    seconds); `log` (message).
    """

    def __init__(self, job_dir: Path) -> None:
        self.path = Path(job_dir) / EVENTS_FILE
        self.job_id = Path(job_dir).name

    def append(self, kind: str, **fields: Any) -> Event:
        """Write one event and wait until the disk has it."""
        event = {"at": utc_now(), "job_id": self.job_id, "kind": kind, **fields}
        line = json.dumps(event, separators=(",", ":"), allow_nan=True) + "\n"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # A writer that was killed in mid-line leaves a torn one: close it, so that only it is lost.
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = "\n" + line
            data = line.encode()
            if os.write(fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(fd)
        finally:
            os.close(fd)
        return event

    def read(self, from_byte: int = 0) -> tuple[list[Event], int]:
        """Whole events from a byte offset on, and the offset to go on from.

        A last line that is still being written is left for the next call; a torn one before is skipped.
        """
        if not self.path.exists():
            return [], 0
        with self.path.open("rb") as file:
            file.seek(from_byte)
            data = file.read()
        end = data.rfind(b"\n") + 1
        events = [event for line in data[:end].splitlines() if (event := _parsed(line)) is not None]
        return events, from_byte + end


@dataclass(frozen=True)
class JobRecord:
    """What a job's events add up to. `message` is that of the last state.

    `attempt` is the number of the run; `failures` counts runs in a row that ended early without getting
    anywhere; `saved_step` is the step of the last checkpoint.
    """

    state: JobState = JobState.QUEUED
    step: int = 0
    of_steps: int = 0
    loss: float | None = None
    psnr: float | None = None
    rays_per_s: float | None = None
    eta_s: float | None = None
    message: str = ""
    attempt: int = 0
    failures: int = 0
    saved_step: int = 0
    updated_at: str = ""
    expired: bool = False
    """Whether its results were removed, see `anerf.jobs.retention`."""

    def after(self, event: Event) -> "JobRecord":
        """The record with one more event; unknown kinds change nothing but the time."""
        now = replace(self, updated_at=event.get("at", self.updated_at))
        match event.get("kind"):
            case "state" if event.get("state") in JobState.__members__:
                return replace(
                    now,
                    state=JobState(event["state"]),
                    message=event.get("message", ""),
                    attempt=event.get("attempt", now.attempt),
                    failures=event.get("failures", now.failures),
                )
            case "progress":
                # A number that was not measured this time keeps its last value.
                fields = ("step", "of_steps", "loss", "psnr", "rays_per_s", "eta_s")
                return replace(now, **{k: event[k] for k in fields if event.get(k) is not None})
            case "checkpoint":
                step = event.get("step", 0)
                return replace(now, step=max(now.step, step), saved_step=max(now.saved_step, step))
            case "expired":
                return replace(now, expired=True)
            case "metrics" if event.get("psnr") is not None:
                return replace(now, psnr=event["psnr"])
            case _:
                return now


def fold(events: Iterable[Event], record: JobRecord | None = None) -> JobRecord:
    """What a job's events, in order, add up to, from the start or on top of an earlier record."""
    record = record or JobRecord()
    for event in events:
        record = record.after(event)
    return record


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def finite(value: Any) -> Any:
    """A JSON value with null for what is no JSON number: a loss may be NaN."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
        case _:
            return value


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None

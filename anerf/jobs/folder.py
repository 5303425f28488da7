"""A job's folder: where everything that a job leaves behind lies, and the record that starts it."""

import errno
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anerf.errors import JobError
from anerf.jobs.events import JobLog, utc_now
from anerf.jobs.headers import trace_id
from anerf.jobs.spec import Job, fingerprint, parse_job
from anerf.jobs.states import JobState

JOB_FILE = "job.json"
SUMMARY_FILE = "summary.json"
VERSION = 1
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

Origin = Literal["kafka", "run"]
"""Who looks after the job: the Mediator, or the `anerf run` that started it."""


@dataclass(frozen=True)
class AcceptedJob:
    """A job as it was taken on, with its folder `<out>/<job_id>/`."""

    job: Job
    fingerprint: str
    origin: Origin
    accepted_at: str
    folder: Path
    traceparent: str | None = None
    """W3C Trace Context of the message that brought it."""

    @property
    def log(self) -> JobLog:
        """The job's diary."""
        return JobLog(self.folder)

    def has_summary(self) -> bool:
        """Whether the job came to its end: its summary is the last thing that it writes."""
        return (self.folder / SUMMARY_FILE).is_file()


def accept_job(job: Job, out: Path, origin: Origin, traceparent: str | None = None) -> AcceptedJob:
    """Make the job's folder and write its `job.json`, durably: after this the job survives a power cut.

    Raises:
        JobError: there is a job of this id already, or something else under its name or in its folder.
    """
    folder = out / job.job_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise JobError(f"{folder} exists and is not a folder: give the job another `job_id`") from error
    if not (folder / JOB_FILE).exists():
        # Hidden files may be locks, or what is left of an acceptance that was cut short.
        other = next((entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), None)
        if other is not None:
            raise JobError(f"{folder} is no job's folder, {other} lies in it: give the job another `job_id`")
    accepted = AcceptedJob(job, fingerprint(job), origin, utc_now(), folder, traceparent)
    trace = {} if traceparent is None else {"traceparent": traceparent}
    content = {
        "version": VERSION,
        "job": job.given(),
        "fingerprint": accepted.fingerprint,
        "origin": origin,
        "accepted_at": accepted.accepted_at,
        **trace,
    }
    try:
        write_json_atomically(folder / JOB_FILE, content, replace=False)
    except FileExistsError as error:
        raise JobError(f"{folder} holds a job already: give the job another `job_id`") from error
    begin_diary(accepted)
    return accepted


def begin_diary(accepted: AcceptedJob) -> None:
    """Write a job's first events."""
    job, trace = accepted.job, accepted.traceparent
    of_trace = {} if trace is None else {"traceparent": trace}
    accepted.log.append(
        "accepted", op=job.op, origin=accepted.origin, fingerprint=accepted.fingerprint, **of_trace
    )
    if job.ignored:
        accepted.log.append("log", message=f"fields that {job.op} jobs do not use: {', '.join(job.ignored)}")
    accepted.log.append("state", state=str(JobState.QUEUED), message="")


def remove_torn_files(folder: Path) -> None:
    """Remove what writers that were killed have left in the folder of a job that has ended."""
    for pattern in (".*.tmp", ".*.part", "checkpoints/**/.*.part"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def read_accepted_job(folder: Path) -> AcceptedJob:
    """The record in a job's folder.

    Raises:
        JobError: there is none, or it is not one of ours.
    """
    path = folder / JOB_FILE
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise JobError(
            f"{folder} holds no {JOB_FILE}: give the folder of a job, such as logs/<job_id>"
        ) from error
    except ValueError as error:
        raise JobError(
            f"{path} is not JSON ({error}): move the folder away and send the job again"
        ) from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise JobError(
            f"{path} is not a version {VERSION} record: use the anerf that wrote it, or send it again"
        )
    fields = {"job", "fingerprint", "origin", "accepted_at"}
    if lacking := fields - content.keys():
        raise JobError(
            f"{path} lacks {', '.join(sorted(lacking))}: move the folder away and send the job again"
        )
    job = parse_job(content["job"])
    if job.job_id != folder.name:
        raise JobError(f"{path} is of job {job.job_id}, not {folder.name}: give the folder its own name back")
    return AcceptedJob(
        job,
        content["fingerprint"],
        content["origin"],
        content["accepted_at"],
        folder,
        content.get("traceparent"),
    )


def write_json_atomically(
    path: Path, content: dict[str, Any], *, mode: int = 0o644, replace: bool = True
) -> None:
    """Publish a file whole: a reader sees the old or the new one, also after a power cut.

    Raises:
        FileExistsError: with `replace` off, and the file is there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            _publish_once(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _publish_once(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links, as exFAT: whoever looks after the folder is the only writer.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.replace(path)


def trace_of_job(folder: Path) -> str | None:
    """The id of the trace that a job belongs to, for its log lines."""
    traceparent = read_accepted_job(folder).traceparent
    return None if traceparent is None else trace_id(traceparent)

"""All jobs under one output folder: who is let in, where each stands, whose turn it is.

The disk is the truth. The table is rebuilt from `<out>/*/job.json` and `events.jsonl`, and whatever it
decides is on the disk before anybody hears of it; killing it at any moment loses nothing.
"""

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anerf.errors import JobError
from anerf.jobs.events import Event, JobRecord, fold
from anerf.jobs.folder import (
    JOB_FILE,
    AcceptedJob,
    Origin,
    accept_job,
    begin_diary,
    read_accepted_job,
    remove_torn_files,
)
from anerf.jobs.spec import Job, fingerprint
from anerf.jobs.states import JobState

logger = logging.getLogger(__name__)

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EISDIR)


@dataclass(frozen=True)
class SubmitResult:
    """The answer to a job message. `state` is REJECTED when it is not taken on, and `message` says why."""

    job_id: str | None
    state: JobState
    message: str = ""
    new: bool = False
    """Whether this message brought the job, rather than repeating it."""


@dataclass(frozen=True)
class JobSummary:
    """One line of a job list."""

    job_id: str
    op: str
    origin: Origin
    accepted_at: str
    record: JobRecord
    folder: str
    waiting_for: str = ""
    traceparent: str | None = None
    priority: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, the record's beside the others."""
        values = asdict(self)
        record = values.pop("record")
        return {**values, **record}


@dataclass
class _Entry:
    accepted: AcceptedJob
    record: JobRecord = field(default_factory=JobRecord)
    next_byte: int = 0
    waiting_for: str = ""

    def summary(self) -> JobSummary:
        accepted = self.accepted
        return JobSummary(
            accepted.job.job_id,
            accepted.job.op,
            accepted.origin,
            accepted.accepted_at,
            self.record,
            str(accepted.folder),
            self.waiting_for,
            accepted.traceparent,
            accepted.job.priority,
        )


class JobTable:
    """The jobs of one output folder. Only its owner writes their `state` events; not safe for threads."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._entries: dict[str, _Entry] = {}
        self._unreadable: set[str] = set()
        self._news: list[tuple[JobSummary, Event]] = []

    def refresh(self) -> None:
        """Take up the job folders that have appeared on the disk; one that cannot be read is named once."""
        if not self.out.is_dir():
            return
        for folder in self.out.iterdir():
            if folder.name in self._entries or folder.name in self._unreadable:
                continue
            try:
                if (folder / JOB_FILE).is_file():
                    self.adopt(read_accepted_job(folder))
            except JobError as error:
                self._unreadable.add(folder.name)
                logger.warning("%s: left out of the job table", error)
            except PermissionError:
                self._unreadable.add(folder.name)
                logger.warning("%s is closed to us: left out of the job table", folder)
            except OSError as error:
                logger.warning("%s cannot be taken up yet: %s", folder, error)

    def forget_removed(self) -> list[str]:
        """Let go of jobs whose folders somebody has removed; of none where all of the disk is away."""
        if not any(self.out.iterdir()):
            return []
        gone = [job_id for job_id, e in self._entries.items() if not (e.accepted.folder / JOB_FILE).exists()]
        for job_id in gone:
            del self._entries[job_id]
        return gone

    def adopt(self, accepted: AcceptedJob) -> None:
        """Take up a job that is on the disk."""
        if accepted.origin != "run" and not accepted.log.path.exists():
            begin_diary(accepted)  # whoever took it on was killed in the midst of it
        entry = self._entries[accepted.job.job_id] = _Entry(accepted)
        self._catch_up(entry)

    def is_known(self, job_id: str) -> bool:
        """Whether there is a job of this id, or a closed folder: a message with it brings no new one."""
        try:
            return job_id in self._entries or (self.out / job_id / JOB_FILE).exists()
        except OSError as error:
            if self._is_of_folder_alone(job_id, error):
                return True
            raise

    def n_queued(self) -> int:
        """How many jobs wait, as far as the table knows."""
        return sum(entry.record.state is JobState.QUEUED for entry in self._entries.values())

    def submit(self, job: Job, origin: Origin, traceparent: str | None = None) -> SubmitResult:
        """Let a job in, durably; or answer with the state of the same job; or turn it away.

        Raises:
            OSError: the disk does not take it now. An error of this job's folder alone turns it away instead:
            nobody who comes after it has to wait until that folder is opened.
        """
        try:
            return self._submit(job, origin, traceparent)
        except OSError as error:
            if not self._is_of_folder_alone(job.job_id, error):
                raise
            reason = (
                f"{self.out / job.job_id} is closed to us ({error.strerror}): "
                "give the job another `job_id`, or let the stack's user read and write there"
            )
            return SubmitResult(job.job_id, JobState.REJECTED, reason)

    def _submit(self, job: Job, origin: Origin, traceparent: str | None) -> SubmitResult:
        entry = self._entries.get(job.job_id)
        if entry is None and (self.out / job.job_id / JOB_FILE).exists():
            try:
                self.adopt(read_accepted_job(self.out / job.job_id))
            except JobError as error:
                return SubmitResult(job.job_id, JobState.REJECTED, str(error))
            entry = self._entries[job.job_id]
        if entry is None:
            try:
                self.adopt(accept_job(job, self.out, origin, traceparent))
            except JobError as error:
                return SubmitResult(job.job_id, JobState.REJECTED, str(error))
            return SubmitResult(job.job_id, JobState.QUEUED, new=True)
        # Both by today's fields and defaults, which may be others than when the job was taken on.
        if fingerprint(entry.accepted.job) != fingerprint(job):
            reason = (
                f"there is a job {job.job_id} with other settings already, see "
                f"{entry.accepted.folder / JOB_FILE}: give this one another `job_id`"
            )
            return SubmitResult(job.job_id, JobState.REJECTED, reason)
        self._catch_up(entry)
        return SubmitResult(job.job_id, entry.record.state, f"job {job.job_id} is known already")

    def change(
        self,
        job_id: str,
        state: JobState,
        message: str = "",
        attempt: int | None = None,
        failures: int | None = None,
        fault: str | None = None,
    ) -> JobRecord:
        """Write a change of state, and what else changes with it, and return the record after it.

        Where the job is in that state already, nothing is written: a disk may take a line and say that it
        did not.

        Raises:
            JobError: the job is unknown, or may not go to `state` from where it stands.
        """
        entry = self._entry(job_id)
        self._catch_up(entry)
        if entry.record.state is state:
            return entry.record
        if not entry.record.state.may_become(state):
            raise JobError(f"job {job_id} is {entry.record.state} and cannot become {state}")
        given: dict[str, Any] = {"attempt": attempt, "failures": failures, "fault": fault}
        fields = {name: value for name, value in given.items() if value is not None}
        entry.accepted.log.append("state", state=str(state), message=message, **fields)
        entry.waiting_for = ""
        self._catch_up(entry)
        if state.is_terminal:
            remove_torn_files(entry.accepted.folder)
        return entry.record

    def wait_for(self, job_id: str, reason: str) -> None:
        """Record why a queued job is not running yet, once per reason."""
        entry = self._entry(job_id)
        if entry.waiting_for != reason:
            entry.accepted.log.append("log", message=f"waiting {reason}")
            entry.waiting_for = reason

    def take_news(self) -> list[tuple[JobSummary, Event]]:
        """The events since the last call, each with the job as it stood after it."""
        for entry in self._entries.values():
            if not entry.record.state.is_terminal:
                self._catch_up(entry)
        news, self._news = self._news, []
        return news

    def accepted(self, job_id: str) -> AcceptedJob:
        """The job as it was taken on."""
        return self._entry(job_id).accepted

    def show(self, job_id: str) -> JobSummary:
        """Where a job stands now."""
        entry = self._entry(job_id)
        self._catch_up(entry)
        return entry.summary()

    def summaries(self) -> list[JobSummary]:
        """Where every job stands, in the order of acceptance."""
        self.refresh()
        for entry in self._entries.values():
            self._catch_up(entry)
        return [entry.summary() for entry in _in_order(self._entries.values())]

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in which state, as far as the table knows."""
        return Counter(entry.record.state for entry in self._entries.values())

    def unfinished(self) -> list[JobSummary]:
        """The jobs that are queued or running as far as the table knows, in the order of acceptance."""
        entries = (entry for entry in self._entries.values() if not entry.record.state.is_terminal)
        return [entry.summary() for entry in _in_order(entries)]

    def _is_of_folder_alone(self, job_id: str, error: OSError) -> bool:
        """Whether it is this job's folder that we may not use, while others can be made beside it."""
        return (
            error.errno in _NOT_OURS
            and os.path.lexists(self.out / job_id)
            and os.access(self.out, os.W_OK | os.X_OK, effective_ids=True)
        )

    def _catch_up(self, entry: _Entry) -> None:
        events, entry.next_byte = entry.accepted.log.read(entry.next_byte)
        for event in events:
            entry.record = fold([event], entry.record)
            self._news.append((entry.summary(), event))

    def _entry(self, job_id: str) -> _Entry:
        if job_id not in self._entries:
            self.refresh()
        if job_id not in self._entries:
            raise JobError(f"there is no job {job_id} in {self.out}: `anerf jobs list` shows those there are")
        return self._entries[job_id]


def _in_order(entries: Iterable[_Entry]) -> list[_Entry]:
    return sorted(entries, key=lambda e: (e.accepted.accepted_at, e.accepted.job.job_id))

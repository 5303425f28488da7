"""Which ended jobs' results are removed, and removing them.

The record of a job (`job.json`, `events.jsonl`) always stays: the job is known, the same message again
changes nothing. What takes room (checkpoints, pictures, logs) goes, once nobody is learning from it.
Checkpoints that lie elsewhere (`checkpoint_root`) are left alone.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from anerf.checkpoint.location import is_below
from anerf.jobs.events import EVENTS_FILE
from anerf.jobs.folder import JOB_FILE
from anerf.jobs.table import JobSummary

_RECORD = (JOB_FILE, EVENTS_FILE)


@dataclass(frozen=True)
class Retention:
    """How long results are kept; None: for ever."""

    keep_days: float | None = None

    def expendable(self, jobs: Sequence[JobSummary], used: Sequence[str], now: datetime) -> list[JobSummary]:
        """Jobs whose results may go.

        Args:
            jobs: All jobs.
            used: Paths and URIs that unfinished jobs start from.
            now: The time.
        """
        if self.keep_days is None:
            return []
        before = now - timedelta(days=self.keep_days)
        return [
            job
            for job in jobs
            if job.record.state.is_terminal
            and not job.record.expired
            and datetime.fromisoformat(job.record.updated_at or job.accepted_at) < before
            and not any(is_below(place, job.folder) for place in used)
        ]


def remove_results(folder: Path) -> int:
    """Remove everything in a job's folder but its record; how many entries went. Links are not followed."""
    n_removed = 0
    for entry in folder.iterdir():
        if entry.name in _RECORD:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        n_removed += 1
    return n_removed

"""The Mediator: one detached actor that owns the job table and lets jobs run.

A shell: admission and memory are `anerf.jobs.table`, policy is `actors.scheduler`, running is
`actors.runner`. Here are only the lock, the loop and the feed of news.
"""

import collections
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from actors import lifeline, metrics
from actors.limits import Limits
from actors.named import end_orphans, end_stale_jobs
from actors.names import JOB_PREFIX, MEDIATOR, NAMESPACE
from actors.runner import RayRunner
from actors.scheduler import Scheduler
from actors.warmth import WarmWorkers
from anerf import logs
from anerf.errors import JobError, QueueFull
from anerf.jobs.events import Event
from anerf.jobs.folder import Origin
from anerf.jobs.permits import refuse_elsewhere
from anerf.jobs.places import starts
from anerf.jobs.retention import Retention, remove_results
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, JobTable, SubmitResult

logger = logging.getLogger(__name__)

_TICK_S = 0.3
_METRICS_PERIOD_S = 2.0
_RETENTION_PERIOD_S = 60.0
_WARM_PERIOD_S = 3.0
_DISK_RETRY_S = 2.0
_FEED_LENGTH = 10_000
_LOG_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Delivery:
    """A job message as it came in. `mark` is the same when the same message is delivered again."""

    raw: bytes
    mark: str
    traceparent: str | None = None


Item = tuple[JobSummary, Event]


@dataclass(frozen=True)
class News:
    """Part of the feed: what happened to which job, in order.

    `feed` names one life of the Mediator; a reader that meets another starts again from 0.
    """

    feed: str
    next: int
    items: tuple[Item, ...]


class Feed:
    """What happens to jobs, in order; of what it has become too long for, the last of each job.

    So a reader that was away for long still hears how every job has ended. Not safe for threads.
    """

    def __init__(self, length: int = _FEED_LENGTH) -> None:
        self._name = uuid.uuid4().hex
        self._length = length
        self._first = 0
        self._items: collections.deque[Item] = collections.deque()
        self._older: dict[str, tuple[int, Item]] = {}

    def add(self, news: Iterable[Item]) -> None:
        """Put news at its end."""
        self._items.extend(news)
        while len(self._items) > self._length:
            item = self._items.popleft()
            self._older.pop(item[0].job_id, None)  # they stay in order
            self._older[item[0].job_id] = (self._first, item)
            self._first += 1

    def since(self, feed: str, after: int) -> News:
        """What came since a place in it; from its start for a reader of another feed."""
        after = after if feed == self._name else 0
        missed = [item for at, item in self._older.values() if at >= after]
        latest = itertools.islice(self._items, max(0, after - self._first), None)
        return News(self._name, self._first + len(self._items), (*missed, *latest))


class Mediator:
    """Takes jobs on, answers for them, and lets them run when their turn comes.

    While the disk is full, jobs are not taken on and states do not change: what is not on the disk has not
    happened. It is told in the log, and waited for.
    """

    def __init__(self, out: str, base: str, limits: Limits) -> None:
        """Take up the jobs under `out`; relative paths in messages start at `base`."""
        logs.configure()
        lifeline.die_with_any_thread()
        self._base = Path(base)
        self._queue_limit = limits.queue
        self._allowed = limits.storage
        self._retention = Retention(limits.keep_days)
        warm = WarmWorkers(limits.warm) if limits.warm > 0 else None
        self._table = JobTable(Path(out))
        self._wake = threading.Event()
        self._scheduler = Scheduler(self._table, RayRunner(JOB_PREFIX, self._wake.set), origin="kafka")
        self._lock = threading.Lock()
        self._feed = Feed()
        try:
            self._table.refresh()
        except OSError as error:  # an actor that cannot be made is not started again: the loop takes them up
            logger.error("jobs cannot be looked for, trying again: %s", error)
        # The news from the disk are old, but the last of each job may never have been told.
        last = {summary.job_id: (summary, event) for summary, event in self._table.take_news()}
        self._feed.add(last.values())
        self._is_taken_up = False
        threading.Thread(target=self._loop, name="scheduler", daemon=True).start()
        # Beside the scheduler: these may take long, and a cancelled job is ended by force in time.
        _keep_doing(self._expire, _RETENTION_PERIOD_S, "removes old results")
        if warm is not None:
            _keep_doing(warm.top_up, _WARM_PERIOD_S, "keeps workers warm")

    def ready(self) -> str:
        """The output folder, once the table is there."""
        return str(self._table.out)

    def submit(
        self, raw: bytes, origin: Origin = "kafka", mark: str | None = None, traceparent: str | None = None
    ) -> SubmitResult:
        """Take a job on, durably, before this returns; safe to call again with the same message.

        Raises:
            QueueFull: it would be a new one, and too many wait already. OSError: the disk does not take it.
        """
        try:
            job = parse_job(raw, made_up_from=mark).resolved(self._base)
            refuse_elsewhere(job, self._allowed)
        except JobError as error:
            return SubmitResult(None, JobState.REJECTED, str(error))
        with self._lock:
            if self._table.n_queued() >= self._queue_limit and not self._table.is_known(job.job_id):
                raise QueueFull(f"{self._queue_limit} jobs wait already, the most that may: send it later")
            result = self._table.submit(job, origin, traceparent)
        self._wake.set()
        return result

    def submit_many(self, deliveries: Sequence[Delivery]) -> Sequence[SubmitResult]:
        """`submit` for several messages, in order, while the queue has room.

        Returns:
            An answer for each, or for the first of them: the next would make the queue longer than its limit,
            or the disk did not take it.
        """
        with self._lock:
            answers = take_in(self._table, deliveries, self._base, self._queue_limit, self._allowed)
        self._wake.set()
        return answers

    def list(self) -> Sequence[JobSummary]:
        """Every job, in the order of acceptance."""
        with self._lock:
            return self._table.summaries()

    def show(self, job_id: str) -> JobSummary:
        """One job."""
        with self._lock:
            return self._table.show(job_id)

    def cancel(self, job_id: str) -> JobSummary:
        """End a job; harmless on one that has ended."""
        with self._lock:
            self._take_up()
            summary = self._scheduler.cancel(job_id)
        self._wake.set()
        return summary

    def events(self, job_id: str, from_byte: int = 0) -> tuple[Sequence[Event], int]:
        """A job's events from a byte offset on, and the offset to go on from."""
        with self._lock:
            log = self._table.accepted(job_id).log
        return log.read(from_byte)

    def log_text(self, job_id: str, from_byte: int = 0) -> tuple[str, int]:
        """A job's log from a byte offset on (a mebibyte at most), and the offset to go on from."""
        with self._lock:
            path = self._table.accepted(job_id).folder / logs.LOG_FILE
        if not path.exists():
            return "", from_byte
        with path.open("rb") as file:
            file.seek(from_byte)
            data = file.read(_LOG_CHUNK_BYTES)
        return data.decode("utf-8", "replace"), from_byte + len(data)

    def news(self, feed: str, after: int) -> News:
        """What happened since a place in the feed; from its start for a reader of another feed."""
        with self._lock:
            return self._feed.since(feed, after)

    def _loop(self) -> None:
        tell_metrics_at = 0.0
        while True:
            with self._lock:
                try:
                    self._take_up()
                    self._scheduler.tick()
                    self._feed.add(self._table.take_news())
                    wait_s = self._scheduler.pause_s(_TICK_S)
                except OSError as error:
                    logger.error("states cannot be written or read, trying again: %s", error)
                    wait_s = _DISK_RETRY_S
                if time.monotonic() >= tell_metrics_at:
                    tell_metrics_at = time.monotonic() + _METRICS_PERIOD_S
                    self._tell_metrics()
            self._wake.wait(wait_s)
            self._wake.clear()

    def _take_up(self) -> None:
        """Queue again what was running in an earlier life, once the disk takes that; before any tick.

        Not while this actor is made: it would not be made again where something cannot be ended in time.
        """
        if not self._is_taken_up:
            end_stale_jobs()
            self._table.refresh()
            end_orphans({job.job_id for job in self._table.unfinished()})
            self._scheduler.put_back(self._table.unfinished())
            self._is_taken_up = True

    def _expire(self) -> None:
        """Remove the results of jobs that ended long ago."""
        with self._lock:
            known = self._table.summaries()  # first: it takes up what the disk has, unfinished ones too
            unfinished = [self._table.accepted(job.job_id).job for job in self._table.unfinished()]
            used = [place for job in unfinished for place in starts(job).values()]
            jobs = self._retention.expendable(known, used, datetime.now(UTC))
        for job in jobs:
            try:
                n_removed = remove_results(Path(job.folder))
                with self._lock:
                    self._table.accepted(job.job_id).log.append("expired", n_removed=n_removed)
                    self._table.show(job.job_id)
            except (OSError, JobError) as error:  # or it was forgotten meanwhile; the next one's may go
                logger.error("results of job %s cannot be removed: %s", job.job_id, error)
            else:
                logger.info("job %s ended long ago: its results were removed, its record stays", job.job_id)

    def _tell_metrics(self) -> None:
        queued = [j.accepted_at for j in self._table.unfinished() if j.record.state is JobState.QUEUED]
        metrics.tell_jobs(self._table.counts(), min(queued, default=None))


def _keep_doing(work: Callable[[], object], period_s: float, name: str) -> None:
    """Do something now and then, for good, in a thread of its own."""

    def keep() -> None:
        while True:
            try:
                work()
            except OSError as error:
                logger.error("what %s failed, trying again: %s", name, error)
            time.sleep(period_s)

    threading.Thread(target=keep, name=name, daemon=True).start()


def take_in(
    table: JobTable,
    deliveries: Sequence[Delivery],
    base: Path,
    queue_limit: int,
    allowed: Sequence[str] = (),
) -> list[SubmitResult]:
    """Submit messages to the table, in order, up to the first new job for which the queue has no room.

    Jobs that go to places not `allowed` are refused, see `anerf.jobs.permits`.
    """
    room = queue_limit - table.n_queued()
    answers: list[SubmitResult] = []
    for delivery in deliveries:
        try:
            job = parse_job(delivery.raw, made_up_from=delivery.mark).resolved(base)
            refuse_elsewhere(job, allowed)
        except JobError as error:
            answers.append(SubmitResult(None, JobState.REJECTED, str(error)))
            continue
        try:
            if room <= 0 and not table.is_known(job.job_id):
                break
            answers.append(table.submit(job, "kafka", delivery.traceparent))
        except OSError as error:
            logger.error("jobs cannot be taken on, trying again: %s", error)
            break
        room -= answers[-1].new
    return answers


def start_mediator(out: Path, base: Path, limits: Limits) -> Any:
    """The Mediator of this cluster, started if it is not there; its methods may be called again safely."""
    actor: Any = ray.remote(Mediator)
    return actor.options(
        name=MEDIATOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=8,
    ).remote(str(out), str(base), limits)

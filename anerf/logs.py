"""One way of logging for every process: time, level, which job, which expert, where, what."""

import contextlib
import contextvars
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOG_FILE = "log.txt"

_bound: contextvars.ContextVar[tuple[str | None, str | None]] = contextvars.ContextVar(
    "bound", default=(None, None)
)
_process_wide: tuple[str | None, str | None] = (None, None)
_trace: str | None = None


def configure(level: int = logging.INFO) -> None:
    """Send the root logger to stderr in our format; calling it again changes only the level."""
    root = logging.getLogger()
    root.setLevel(level)
    if not any(isinstance(handler.formatter, _Format) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Format())
        root.handlers = [handler]


def bind(job_id: str | None = None, expert: int | str | None = None) -> None:
    """Name the job and expert that every line of this process is about, in all its threads."""
    global _process_wide  # noqa: PLW0603
    _process_wide = (job_id, None if expert is None else str(expert))


@contextlib.contextmanager
def bound(job_id: str | None = None, expert: int | str | None = None) -> Iterator[None]:
    """Name the job and expert that the lines inside are about, in this thread."""
    token = _bound.set((job_id, None if expert is None else str(expert)))
    try:
        yield
    finally:
        _bound.reset(token)


def add_file(job_dir: Path) -> logging.Handler:
    """Also append to the job's `log.txt`; the handler is returned so that it can be closed."""
    handler = logging.FileHandler(job_dir / LOG_FILE, encoding="utf-8")
    handler.setFormatter(_Format())
    logging.getLogger().addHandler(handler)
    return handler


def of_job(job_dir: Path, trace: str | None = None) -> None:
    """What a process that works on one job calls first: configure, bind, and append to its `log.txt`.

    Args:
        job_dir: The job's folder.
        trace: The id of the trace that the job belongs to, for every line.
    """
    global _trace  # noqa: PLW0603
    configure()
    _trace = trace
    bind(job_id=job_dir.name)
    add_file(job_dir)


class _Format(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO job=demo expert=2 actors.expert: text`."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(about)s%(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        job_id, expert = (own or process for own, process in zip(_bound.get(), _process_wide, strict=True))
        about = {"job": job_id, "trace": _trace, "expert": expert}
        record.about = "".join(f"{key}={value} " for key, value in about.items() if value is not None)
        return super().format(record)

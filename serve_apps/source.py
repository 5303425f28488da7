"""Which weights a request shows: found once, so that all its parts show the same ones. Knows no torch."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.checkpoint.resolve import complete_steps, resolve_checkpoint, written_ns
from anerf.errors import AnerfError, CheckpointError, InputError, StorageUnavailable
from anerf.jobs.places import find_checkpoint
from serve_apps.confine import inside

T = TypeVar("T")


class NotFoundError(InputError):
    """The client named a checkpoint that does not exist."""


class DamagedError(InputError):
    """The client named a checkpoint that exists and cannot be used."""


@dataclass(frozen=True)
class Source:
    """A step folder as it was when its manifest was written."""

    folder: str
    written_ns: int


@dataclass(frozen=True)
class RunningSource:
    """The newest weights of a job that runs. They change: whoever asks twice may be shown two versions."""

    job: str


@dataclass(frozen=True)
class JobCheckpoints:
    """The complete checkpoints of a job; `newest` is the last one's manifest, or what is wrong with it.

    Of a folder that may not be looked into there are no `steps`, and `newest` says so.
    """

    job: str
    folder: str
    steps: tuple[int, ...]
    newest: Manifest | str


def find_source(out_root: Path, named: str, prefix: str) -> Source:
    """The step folder that a client means.

    Raises:
        OutsideError: it is outside `out_root`. NotFoundError: it does not exist.
    """
    place = inside(out_root, named)
    folder = or_as(NotFoundError, lambda: find_checkpoint(str(place), prefix))
    if "://" not in folder:  # else that of a job which was allowed to save elsewhere
        folder = str(inside(out_root, folder))
    completed_ns = written_ns(folder)
    if completed_ns is None:
        raise NotFoundError(f"Checkpoint {named!r} is being replaced: ask again.")
    return Source(folder, completed_ns)


def all_checkpoints(out_root: Path) -> list[JobCheckpoints]:
    """The jobs below `out_root` that have complete checkpoints, the newest first.

    A job whose folder is closed to us is left out, and one that goes away meanwhile.
    """
    found = []
    for folder in out_root.glob("*/checkpoints"):
        with suppress(FileNotFoundError):
            if (job := _checkpoints_in(folder)) is not None:
                found.append((folder.stat().st_mtime, job))
    return [job for _, job in sorted(found, key=lambda f: (-f[0], f[1].job))]


def or_as(kind: type[Exception], attempt: Callable[[], T]) -> T:
    """What `attempt` returns; our own kinds of errors, and refused rights, come as `kind`.

    Raises:
        StorageUnavailable: as it is.
    """
    try:
        return attempt()
    except StorageUnavailable:
        raise
    except PermissionError as error:
        raise kind(f"{error.filename} is closed to the endpoint: give it the right to read it.") from error
    except AnerfError as error:
        raise kind(str(error)) from error


def _checkpoints_in(folder: Path) -> JobCheckpoints | None:
    """None where no checkpoint is complete."""
    steps: list[int] = []
    try:
        steps = complete_steps(str(folder))
        if not steps:
            return None
        newest: Manifest | str = read_manifest(resolve_checkpoint(str(folder), "last"))
    except CheckpointError as error:
        newest = str(error)
    return JobCheckpoints(folder.parent.name, str(folder), tuple(steps), newest)

"""Checkpoints that clients name stay inside the output folder."""

from pathlib import Path

from anerf.errors import InputError

_LONGEST_NAME = 255
"""Bytes; what file systems allow."""


class OutsideError(InputError):
    """A path that a client named leads out of the output folder."""


def inside(root: Path, named: str) -> Path:
    """The place that `named` (relative, or absolute inside `root`) means, links followed.

    Raises:
        OutsideError: it is not inside `root`, or no path at all.
    """
    base = root.resolve()
    too_long = any(len(part.encode()) > _LONGEST_NAME for part in named.split("/"))
    if "\0" in named or "://" in named or too_long:
        raise OutsideError(_refusal(named))
    try:
        place = (base / named).resolve()
    except (OSError, RuntimeError) as error:
        raise OutsideError(_refusal(named)) from error
    if not place.is_relative_to(base):
        raise OutsideError(_refusal(named))
    return place


def _refusal(named: str) -> str:
    return (
        f"Checkpoint {named[:200]!r} is not inside the output folder: "
        "give a job's id or a path below it, as GET /scenes lists them."
    )

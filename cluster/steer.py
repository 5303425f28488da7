"""`anerf jobs pause` and the like: a running training or adaptation does as people say."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cluster.stack import DEFAULT_OUT, joined_stack

if TYPE_CHECKING:
    from actors.steering import Wish


def pause(job_id: str, /, out: Path = DEFAULT_OUT) -> None:
    """Pause a running training or adaptation after its current round; it keeps its processes.

    Args:
        job_id: The job.
        out: The stack's folder.
    """
    from actors.steering import Pause

    _steer(job_id, Pause(), out)


def resume(job_id: str, /, out: Path = DEFAULT_OUT) -> None:
    """Let a paused job go on.

    Args:
        job_id: The job.
        out: The stack's folder.
    """
    from actors.steering import Resume

    _steer(job_id, Resume(), out)


def stop(job_id: str, /, out: Path = DEFAULT_OUT) -> None:
    """End a running training or adaptation well: it measures, keeps a checkpoint, and has succeeded.

    Args:
        job_id: The job.
        out: The stack's folder.
    """
    from actors.steering import Stop

    _steer(job_id, Stop(), out)


def save(job_id: str, /, out: Path = DEFAULT_OUT) -> None:
    """Write a checkpoint of a running training or adaptation after its current round.

    Args:
        job_id: The job.
        out: The stack's folder.
    """
    from actors.steering import Save

    _steer(job_id, Save(), out)


def _steer(job_id: str, wish: "Wish", out: Path) -> None:
    with joined_stack(out):
        from actors.running import RunningJob

        RunningJob(job_id).steer(wish)
    Console().print(
        f"Told job {job_id}; it does so after its current round: `anerf jobs watch {job_id}` shows it"
    )

"""`anerf jobs pause` and the like: a running training or adaptation does as people say."""

from pathlib import Path

from rich.console import Console

from actors.steering import Pause, Resume, Save, Stop, Wish
from cluster.show import JobId, StackFolder
from cluster.stack import DEFAULT_OUT, joined_stack


def pause(job_id: JobId, /, out: StackFolder = DEFAULT_OUT) -> None:
    """Pause a running training or adaptation after its current round; it keeps its processes."""
    _steer(job_id, Pause(), out)


def resume(job_id: JobId, /, out: StackFolder = DEFAULT_OUT) -> None:
    """Let a paused job go on."""
    _steer(job_id, Resume(), out)


def stop(job_id: JobId, /, out: StackFolder = DEFAULT_OUT) -> None:
    """End a running training or adaptation well: it measures, keeps a checkpoint, and has succeeded."""
    _steer(job_id, Stop(), out)


def save(job_id: JobId, /, out: StackFolder = DEFAULT_OUT) -> None:
    """Write a checkpoint of a running training or adaptation after its current round."""
    _steer(job_id, Save(), out)


def _steer(job_id: str, wish: Wish, out: Path) -> None:
    with joined_stack(out):
        from actors.running import RunningJob

        RunningJob(job_id).steer(wish)
    Console().print(
        f"Told job {job_id}; it does so after its current round: `anerf jobs watch {job_id}` shows it"
    )

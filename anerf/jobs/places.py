"""Where the checkpoints of a job lie."""

from pathlib import Path

from anerf.checkpoint import storage
from anerf.checkpoint.resolve import resolve_checkpoint
from anerf.jobs.folder import JOB_FILE, read_accepted_job
from anerf.jobs.spec import EvalJob, Job, TrainJob, VideoJob

CHECKPOINTS = "checkpoints"


def checkpoints_root(job: Job, job_dir: str) -> str:
    """The folder of a job's own checkpoints: below its `checkpoint_root`, else in its folder `job_dir`."""
    if isinstance(job, TrainJob | EvalJob) and job.checkpoint_root is not None:
        return storage.join(job.checkpoint_root, job.job_id)
    return str(Path(job_dir) / CHECKPOINTS)


def starts(job: Job) -> dict[str, str]:
    """What a job starts from, by the field that names it: paths or URIs of checkpoints and camera paths."""
    found = {"checkpoint_path": job.checkpoint_path}
    if isinstance(job, VideoJob):
        found["before_checkpoint_path"] = job.before_checkpoint_path
        found["camera_path"] = job.camera_path if job.is_saved_path else None
    return {field: place for field, place in found.items() if place is not None}


def find_checkpoint(path: str, prefix: str) -> str:
    """The step folder that a path (of a job, of checkpoints, of a step; local or a URI) and a prefix mean.

    A job's folder is followed to where the job saves.

    Raises:
        CheckpointError, JobError: there is none. StorageUnavailable: that cannot be known now.
    """
    return resolve_checkpoint(followed(path), prefix)


def followed(path: str) -> str:
    """The path itself, or, of the folder of a job that saves elsewhere, where it does."""
    if "://" in path or CHECKPOINTS in storage.folder_names(path):
        return path
    if not storage.is_file(storage.join(path, JOB_FILE)):
        return path
    job = read_accepted_job(Path(path)).job
    root = checkpoints_root(job, path)
    return path if Path(root) == Path(path) / CHECKPOINTS else root

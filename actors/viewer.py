"""`ViewerActor`: one viser server, for as long as a view job lasts."""

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import ray

from anerf import logs
from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import read_manifest
from anerf.errors import JobCancelled, JobError, StackError
from anerf.field.threads import use_threads
from anerf.jobs.folder import read_accepted_job, trace_of_job
from anerf.jobs.places import find_checkpoint
from anerf.jobs.spec import ViewJob
from anerf.viewer.scene_viewer import SceneViewer
from anerf.viewer.surroundings import surroundings_of

MOST_SAMPLES = 256
_log = logging.getLogger(__name__)


@ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"control": 1})  # pyright: ignore[reportCallIssue]
class ViewerActor:
    """Shows the checkpoint of its job in browsers until the job's time is up or it is cancelled.

    It asks Ray for no CPU, so that one can look while a job trains; it renders with half of the cores.
    """

    def __init__(self, job_dir: str) -> None:
        logs.of_job(Path(job_dir), trace=trace_of_job(Path(job_dir)))
        self._dir = Path(job_dir)
        self._cancelled = threading.Event()
        self._viewer: SceneViewer | None = None

    def run(self) -> dict[str, Any]:
        """Serve the viewer; returns its address and how long it was open.

        Raises:
            CheckpointError: there is nothing to show. StackError: the address cannot be bound.
            JobCancelled: `cancel` was called.
        """
        accepted = read_accepted_job(self._dir)
        job = accepted.job
        if not isinstance(job, ViewJob) or job.checkpoint_path is None:
            raise JobError(f"a {job.op} job has no view: it is run by the coordinator")
        use_threads((os.cpu_count() or 1) // 2)
        uri = find_checkpoint(job.checkpoint_path, job.prefix)
        model = load_scene_model(uri).sampled(job.sampler, job.march_step_m)
        surroundings = surroundings_of(read_manifest(uri).scene)
        samples = min(job.ray_samples, MOST_SAMPLES)
        try:
            title = f"anerf: {model.scene_name}"
            self._viewer = SceneViewer(model, title, job.host, job.port, samples, surroundings)
        except OSError as error:
            raise StackError(
                f"The viewer cannot listen on {job.host}:{job.port} ({error}): choose another host or port."
            ) from error
        start = time.monotonic()
        accepted.log.append("log", message=f"viewer at {self._viewer.url}", url=self._viewer.url)
        _log.info("job %s: viewer at %s", job.job_id, self._viewer.url)
        try:
            self._cancelled.wait(None if job.viewer_timeout < 0 else job.viewer_timeout)
        finally:
            self._viewer.stop()
        if self._cancelled.is_set():
            raise JobCancelled(f"the viewer of job {job.job_id} was closed on request")
        open_s = time.monotonic() - start
        return {"message": f"viewer was open for {open_s:.0f} s", "url": self._viewer.url, "open_s": open_s}

    @ray.method(concurrency_group="control")
    def cancel(self) -> None:
        """Close the viewer; `run` then raises `JobCancelled`."""
        self._cancelled.set()

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Where the viewer is (None until it is up) and how many browsers look."""
        viewer = self._viewer
        return {"url": viewer and viewer.url, "n_clients": viewer.n_clients if viewer else 0}

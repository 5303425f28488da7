"""`ViewerActor`: one viser server, for as long as a view job lasts."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from actors.live_jobs import RayJobs
from anerf import logs
from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.errors import CheckpointError, JobCancelled, JobError, StackError
from anerf.field.threads import use_threads
from anerf.jobs.folder import read_accepted_job, trace_of_job
from anerf.jobs.places import find_checkpoint
from anerf.jobs.spec import ViewJob
from anerf.render.scene_model import SceneModel
from anerf.viewer.choices import Quality
from anerf.viewer.live import LiveJobs
from anerf.viewer.panels.quality import MOST_SAMPLES
from anerf.viewer.scene_viewer import SceneViewer
from anerf.viewer.settings import Exhibit
from anerf.viewer.shelf import Shelf, ancestor_of
from anerf.viewer.surroundings import surroundings_of

NICER_BY = 5
"""Levels above other workers of Ray, which have 15: one of their threads gets more than twice the time."""
_log = logging.getLogger(__name__)


@ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"control": 1})  # pyright: ignore[reportCallIssue]
class ViewerActor:
    """Shows the checkpoint of its job in browsers until the job's time is up or it is cancelled.

    It asks Ray for no CPU, so that one can look while a job trains. It renders with all cores, but nicely:
    while others want them, it gets the smaller part.
    """

    def __init__(self, job_dir: str) -> None:
        logs.of_job(Path(job_dir), trace=trace_of_job(Path(job_dir)))
        self._dir = Path(job_dir)
        self._over = threading.Event()
        self._is_cancelled = False
        self._viewer: SceneViewer | None = None
        self._url: str | None = None

    def run(self) -> dict[str, Any]:
        """Serve the viewer; returns its address and how long it was open.

        Raises:
            CheckpointError: there is nothing to show. StackError: the address cannot be bound.
            JobCancelled: `cancel` was called.
        """
        accepted = read_accepted_job(self._dir)
        job = accepted.job
        if not isinstance(job, ViewJob):
            raise JobError(f"a {job.op} job has no view: it is run by the coordinator")
        # Threads that are begun from here on give way to those that learn.
        os.nice(NICER_BY)
        use_threads(os.cpu_count() or 1)
        jobs = RayJobs(self._dir.parent)
        exhibit = exhibit_of(job, self._dir.parent, self._over.set, jobs)
        try:
            self._viewer = SceneViewer(exhibit, job.host, job.port, job.public_url)
        except OSError as error:
            raise StackError(
                f"The viewer cannot listen on {job.host}:{job.port} ({error}): choose another host or port."
            ) from error
        start = time.monotonic()
        self._url = job.public_url or self._viewer.url
        accepted.log.append("log", message=f"viewer at {self._url}", url=self._url)
        _log.info("job %s: viewer at %s, listening at %s", job.job_id, self._url, self._viewer.url)
        try:
            self._over.wait(None if job.viewer_timeout < 0 else job.viewer_timeout)
        finally:
            jobs.leave()  # first: who is cancelled has little time, and farewells take some of it
            self._viewer.stop()
            jobs.close()
        if self._is_cancelled:
            raise JobCancelled(f"the viewer of job {job.job_id} was closed on request")
        open_s = time.monotonic() - start
        return {"message": f"viewer was open for {open_s:.0f} s", "url": self._url, "open_s": open_s}

    @ray.method(concurrency_group="control")
    def cancel(self) -> None:
        """Close the viewer; `run` then raises `JobCancelled`."""
        self._is_cancelled = True
        self._over.set()

    @ray.method(concurrency_group="control")
    def status(self) -> dict[str, Any]:
        """Where the viewer is (None until it is up) and how many browsers look."""
        viewer = self._viewer
        return {"url": self._url, "n_clients": viewer.n_clients if viewer else 0}


def exhibit_of(job: ViewJob, out: Path, end: Callable[[], None], jobs: LiveJobs | None = None) -> Exhibit:
    """What the job shows.

    Raises:
        JobError: the job names no checkpoint. CheckpointError: it cannot be read.
    """
    if job.checkpoint_path is None:
        raise JobError(f"job {job.job_id} names no checkpoint to show: give `checkpoint_path`")

    def load(uri: str) -> SceneModel:
        return load_scene_model(uri).sampled(job.sampler, job.march_step_m)

    uri = find_checkpoint(job.checkpoint_path, job.prefix)
    manifest = read_manifest(uri)
    model = load(uri)
    shelf = Shelf(out, load)
    shelf.names()
    return Exhibit(
        title=f"anerf: {model.scene_name}",
        name=shelf.name_of(uri) or f"{manifest.job_id}, step {manifest.step}",
        uri=uri,
        model=model,
        surroundings=surroundings_of(manifest.scene),
        quality=Quality(min(job.ray_samples, MOST_SAMPLES)),
        shelf=shelf,
        out=out,
        end=end,
        before=_before(manifest, shelf),
        jobs=jobs,
    )


def _before(manifest: Manifest, shelf: Shelf) -> str | None:
    """What an adapted checkpoint began with, where that is among those that can be chosen."""
    ancestor = ancestor_of(manifest.job)
    if ancestor is None:
        return None
    try:
        return shelf.name_of(find_checkpoint(*ancestor))
    except CheckpointError as error:
        _log.info("the checkpoint that %s began with is not offered: %s", manifest.job_id, error)
        return None

"""A video job: several processes render frames, one writes them in their order."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from jaxtyping import UInt8
from ray import ObjectRef
from ray.exceptions import RayTaskError

from actors.fan_out import POLL_S, cause_of
from actors.patience import PatientDiary
from actors.shares import n_at_once
from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import SceneStamp, read_manifest
from anerf.errors import AnerfError, JobCancelled, JobError
from anerf.field.threads import use_threads
from anerf.geometry.boxes import Aabb
from anerf.geometry.camera_path import CameraPath, KeyFrame
from anerf.geometry.canned_paths import CannedPath, canned_path
from anerf.geometry.geodesy import GeodeticReference
from anerf.jobs.folder import SUMMARY_FILE, write_json_atomically
from anerf.jobs.learning import learning_device
from anerf.jobs.places import find_checkpoint
from anerf.jobs.spec import VideoJob
from anerf.jobs.video_fields import CANNED_SECONDS
from anerf.products.colormap import Range
from anerf.products.film import FilmLook, film_depth_range_m, film_frame
from anerf.products.path_file import read_path, save_path
from anerf.products.video import VideoWriter, remove_unfinished
from anerf.render.scene_model import SceneModel

VIDEO_FILE, PATH_FILE = "video.mp4", "path.json"
AHEAD = 4  # frames of a process that may wait for their turn
_AT_HAND = 2  # frames that a process has been asked for: one that it works on, and the next
_PROGRESS_S = 1.0


@dataclass(frozen=True)
class _Footage:
    """Which checkpoints are filmed, and how they are sampled."""

    uri: str
    before_uri: str | None
    sampler: str | None
    march_step_m: float | None
    look: FilmLook


@ray.remote(num_cpus=0, max_restarts=2, max_task_retries=2, scheduling_strategy="SPREAD")
class FrameRenderer:
    """Renders frames of a film with one thread. Frames have no order: one that was lost is rendered anew."""

    def __init__(self, footage: _Footage) -> None:
        use_threads(1)
        self._footage = footage
        self._loaded: tuple[SceneModel, SceneModel | None] | None = None

    def depth_range_m(self, frames: Sequence[KeyFrame]) -> Range:
        """See `film_depth_range_m`."""
        model, _ = self._models()
        return film_depth_range_m(model, self._footage.look, frames)

    def frame(self, key: KeyFrame, range_m: Range | None) -> UInt8[np.ndarray, "h w 3"]:
        """See `film_frame`."""
        return film_frame(*self._models(), self._footage.look, key, range_m)

    def _models(self) -> tuple[SceneModel, SceneModel | None]:
        # Not by __init__: what goes wrong there reaches nobody in words, the actor is only said to have died.
        if self._loaded is None:
            before = self._footage.before_uri
            self._loaded = self._load(self._footage.uri), None if before is None else self._load(before)
        return self._loaded

    def _load(self, uri: str) -> SceneModel:
        model = load_scene_model(uri, device=str(learning_device()))
        return model.sampled(self._footage.sampler, self._footage.march_step_m)


class VideoRun:
    """Runs one video job. It begins at the first frame every time."""

    def __init__(
        self, job: VideoJob, job_dir: str, events: PatientDiary, cancelled: Callable[[], bool]
    ) -> None:
        self._job = job
        self._dir = Path(job_dir)
        self._events = events
        self._cancelled = cancelled

    def run(self) -> dict[str, Any]:
        """Film; the summary.

        Raises:
            JobCancelled: cancelled meanwhile; no file is left.
            AnerfError: what the job cannot use.
        """
        job, started = self._job, time.monotonic()
        remove_unfinished(self._dir / VIDEO_FILE)
        footage = _footage(job)
        stamp = read_manifest(footage.uri).scene
        path = camera_path(job, stamp)
        frames = path.frames(job.fps, job.seconds)
        reference = GeodeticReference(*stamp.reference)
        self._events.insist(lambda: save_path(self._dir / PATH_FILE, path, reference, stamp.name))
        n_renderers = n_at_once(len(frames), job.cpus)
        gpus = 0.1 / n_renderers if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        renderers = [
            cast(Any, FrameRenderer).options(num_gpus=gpus).remote(footage) for _ in range(n_renderers)
        ]
        self._events.append(
            "log", message=f"{len(frames)} frames along {job.camera_path}, in {n_renderers} processes"
        )
        try:
            range_m = (
                self._result(renderers[0].depth_range_m.remote(frames)) if footage.look.needs_depth else None
            )
            with VideoWriter(
                self._dir / VIDEO_FILE, footage.look.frame_width, job.height, job.fps, job.crf
            ) as video:
                self._film(video, renderers, frames, range_m)
        finally:
            for renderer in renderers:
                ray.kill(renderer)
        seconds = time.monotonic() - started
        summary = {
            "job_id": job.job_id,
            "op": job.op,
            "message": f"{len(frames)} frames in {seconds:.0f} s",
            "checkpoint": footage.uri,
            "before_checkpoint": footage.before_uri,
            "camera_path": job.camera_path,
            "layer": job.layer,
            "depth_range_m": range_m,
            "file": VIDEO_FILE,
            "n_frames": len(frames),
            "fps": job.fps,
            "width": footage.look.frame_width,
            "height": job.height,
            "took_s": round(seconds, 1),
        }
        self._events.insist(lambda: write_json_atomically(self._dir / SUMMARY_FILE, summary))
        return summary

    def _film(
        self, video: VideoWriter, renderers: list[Any], frames: list[KeyFrame], range_m: Range | None
    ) -> None:
        # The first frames come when their processes have started, which says nothing about the others.
        first_at = told = time.monotonic()
        for done, frame in enumerate(self._rendered(renderers, frames, range_m), start=1):
            video.write(frame)
            now = time.monotonic()
            first_at = now if done == 1 else first_at
            if (now - told >= _PROGRESS_S and done > len(renderers)) or done == len(frames):
                told = now
                a_frame_s = (now - first_at) / max(done - 1, 1)
                rays = frame.shape[0] * frame.shape[1]
                self._events.append(
                    "progress",
                    step=done,
                    of_steps=len(frames),
                    rays_per_s=round(rays / max(a_frame_s, 1e-6)),
                    eta_s=round((len(frames) - done) * a_frame_s, 1),
                )

    def _rendered(
        self, renderers: list[Any], frames: list[KeyFrame], range_m: Range | None
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """All frames in their order, while those that follow are being rendered."""
        idle = deque(renderer for _ in range(_AT_HAND) for renderer in renderers)
        asked: dict[ObjectRef, tuple[int, Any]] = {}
        came: dict[int, ObjectRef] = {}
        begun = 0
        for turn in range(len(frames)):
            while turn not in came:
                while idle and begun < min(len(frames), turn + AHEAD * len(renderers)):
                    renderer = idle.popleft()
                    asked[renderer.frame.remote(frames[begun], range_m)] = (begun, renderer)
                    begun += 1
                for ref in self._some_of(list(asked)):
                    index, renderer = asked.pop(ref)
                    came[index] = ref
                    idle.append(renderer)
            yield _value(came.pop(turn))

    def _result(self, ref: ObjectRef) -> Any:
        while not self._some_of([ref]):
            pass
        return _value(ref)

    def _some_of(self, refs: list[ObjectRef]) -> list[ObjectRef]:
        """Those that are there, perhaps none yet."""
        if self._cancelled():
            raise JobCancelled("cancelled while it was filmed; no video was written")
        done, _ = ray.wait(refs, timeout=POLL_S)
        return done


def camera_path(job: VideoJob, stamp: SceneStamp) -> CameraPath:
    """The path that a job names, in the frame of its checkpoint's scene.

    Raises:
        InputError: the saved path is missing or does not fit.
    """
    if job.is_saved_path:
        path = read_path(Path(job.camera_path), GeodeticReference(*stamp.reference))
        if path.duration_s == 0 and job.seconds is None:
            raise JobError(
                f"camera path {job.camera_path} has one key frame: say with `seconds` how long it lasts"
            )
        return path
    seconds = CANNED_SECONDS if job.seconds is None else job.seconds
    name = cast(CannedPath, job.camera_path)
    return canned_path(
        name, Aabb(*stamp.aabb), stamp.altitude_range_m[1], seconds=seconds, fov_y_deg=job.fov_y_deg
    )


def _footage(job: VideoJob) -> _Footage:
    assert job.checkpoint_path is not None  # the job's own validation
    before = job.before_checkpoint_path if job.layer == "before_after" else None
    return _Footage(
        find_checkpoint(job.checkpoint_path, job.prefix),
        None if before is None else find_checkpoint(before, job.before_prefix),
        job.sampler,
        job.march_step_m,
        FilmLook(job.layer, job.width, job.height, job.ray_samples, job.flight),
    )


def _value(ref: ObjectRef) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = cause_of(error)
        raise (cause if isinstance(cause, AnerfError) else error) from None

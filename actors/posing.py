"""Refining a new flight's poses before experts take it up, in processes of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ray
from ray.exceptions import RayTaskError

from actors.fan_out import POLL_S, cause_of
from actors.shares import n_at_once
from anerf.checkpoint.load import load_scene_model
from anerf.errors import AnerfError, JobCancelled
from anerf.field.threads import use_threads
from anerf.jobs.learning import learning_device
from anerf.learn.poses import PoseCorrection
from anerf.learn.scene_poses import PoseRequest, refined_view
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import load_scene

Corrections = dict[str, PoseCorrection]


def refined_views(
    uri: str,
    scene: Path,
    downscale: float,
    views: Sequence[int],
    request: PoseRequest,
    cancelled: Callable[[], bool],
) -> Corrections:
    """Corrections by file of views (indices into the scene's frames), against the checkpoint at `uri`.

    The views are dealt out to one task a core, with one thread each; where Ray has GPUs, the tasks share a
    tenth of one.

    Raises:
        JobCancelled: cancelled meanwhile.
        AnerfError: what a task could not use.
    """
    n_tasks = n_at_once(len(views))
    gpus = 0.1 / n_tasks if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    refine = _refine_views.options(num_gpus=gpus)
    waiting = [refine.remote(uri, scene, downscale, views[i::n_tasks], request) for i in range(n_tasks)]
    found: Corrections = {}
    try:
        while waiting:
            if cancelled():
                raise JobCancelled("cancelled while poses were refined; nothing was saved")
            done, waiting = ray.wait(waiting, timeout=POLL_S)
            for ref in done:
                found |= ray.get(ref)
    except RayTaskError as error:
        cause = cause_of(error)
        raise (cause if isinstance(cause, AnerfError) else error) from None
    finally:
        for ref in waiting:
            ray.cancel(ref, force=True)
    return found


@ray.remote(num_cpus=0, max_retries=2)
def _refine_views(
    uri: str, scene_path: Path, downscale: float, views: Sequence[int], request: PoseRequest
) -> Corrections:
    use_threads(1)
    model = load_scene_model(uri, device=str(learning_device()))
    scene = load_scene(scene_path)
    pixels = open_pixels(scene, downscale)
    return {scene.frames[i].file: refined_view(model, scene, pixels, i, request) for i in views}

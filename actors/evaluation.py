"""Pictures and scores of a scene whose experts are still at work, made in a process of its own."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray
import torch
from ray import ObjectRef

from actors.shares import n_at_once
from anerf.checkpoint.load import expert_box, field_setting, load_expert_model, scene_model
from anerf.checkpoint.manifest import Manifest
from anerf.errors import BackendError
from anerf.field.threads import use_threads
from anerf.jobs.learning import learning_device
from anerf.learn.evaluate import ViewScore, score_view
from anerf.learn.lpips import Lpips
from anerf.learn.state import field_params, restore_density
from anerf.products.renders import save_view
from anerf.render.expert import ExpertModel, FieldSetting
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import load_scene

Snapshot = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ViewsRequest:
    """Which views to render and score: frame index (into the scene's frames) and role of each.

    Pictures go to `folder`, where one is given (see `anerf.products.renders`).
    """

    scene: str
    downscale: float
    views: tuple[tuple[int, str], ...]
    tto: int
    samples: int
    lpips: bool
    folder: str | None


def request_scores(
    manifest: Manifest,
    request: ViewsRequest,
    shared: Mapping[str, np.ndarray],
    snapshots: Mapping[int, ObjectRef],
    base_uri: str | None = None,
) -> list[ObjectRef]:
    """Start scoring, the views dealt out to one task a core; each gives a list of `ViewScore`.

    Where Ray has GPUs, the tasks share a tenth of one. Each has one thread, since threads that wait for each
    other by spinning are many times slower on cores that are not free. Experts without a snapshot are read
    from the checkpoint at `base_uri`.
    """
    order = sorted(snapshots)
    refs = [snapshots[expert] for expert in order]
    n_tasks = n_at_once(len(request.views))
    shares = [replace(request, views=request.views[i::n_tasks]) for i in range(n_tasks)]
    gpus = 0.1 / n_tasks if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    score = _score_views.options(num_gpus=gpus)
    return [score.remote(manifest, share, shared, base_uri, order, *refs) for share in shares]


def snapshot_model(snapshot: Snapshot, manifest: Manifest, expert: int, setting: FieldSetting) -> ExpertModel:
    """An expert's render tensors, still shared with the object store."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(array) for name, array in snapshot.items()}
    box = expert_box(manifest, expert)
    where = f"snapshot of expert {expert}"
    return ExpertModel(
        field_params(tensors, setting.layout, where), restore_density(tensors, box, where), box
    )


@ray.remote(num_cpus=0, max_retries=2)
def _score_views(
    manifest: Manifest,
    request: ViewsRequest,
    shared: Mapping[str, np.ndarray],
    base_uri: str | None,
    order: list[int],
    *snapshots: Snapshot,
) -> list[ViewScore]:
    use_threads(1)
    device = learning_device()
    spec, setting = field_setting(manifest, device)
    fresh = dict(zip(order, snapshots, strict=True))
    models = []
    for expert in range(len(manifest.partition.centroids)):
        if expert in fresh:
            models.append(snapshot_model(fresh[expert], manifest, expert, setting).to(device))
        elif base_uri is not None:
            models.append(load_expert_model(base_uri, manifest, expert, setting).to(device))
        else:
            raise BackendError(f"expert {expert} has neither a snapshot nor a checkpoint to be read from")
    model = scene_model(manifest, spec, setting, tuple(models), shared)
    scene = load_scene(Path(request.scene))
    pixels = open_pixels(scene, request.downscale)
    lpips = Lpips() if request.lpips else None
    scores = []
    for index, role in request.views:
        view = score_view(
            model, scene, pixels, index, role=role, tto=request.tto, samples=request.samples, lpips=lpips
        )
        scores.append(view.score)
        if request.folder is not None:
            save_view(Path(request.folder), view)
    return scores

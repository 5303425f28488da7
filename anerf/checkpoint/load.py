"""From a checkpoint folder to a scene that renders."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from anerf.checkpoint.manifest import Box, Manifest, ShardRecord, read_manifest
from anerf.checkpoint.resolve import resolve_checkpoint
from anerf.checkpoint.shards import read_shard
from anerf.errors import CheckpointError
from anerf.field.backend import choose_backend
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference
from anerf.learn.state import field_params, restore_density
from anerf.render.expert import ExpertModel, FieldSetting
from anerf.render.exposure import Exposures
from anerf.render.scene_model import SceneModel


def expert_box(manifest: Manifest, expert: int) -> Aabb:
    """An expert's box in the learning frame."""
    return learning_box(manifest.partition.boxes[expert], manifest.scene.origin, manifest.scene.scale)


def learning_box(box: Box, origin: tuple[float, float, float], scale: float) -> Aabb:
    """A box in ENU metres moved into the learning frame."""
    lo, hi = (tuple((c - o) / scale for c, o in zip(corner, origin, strict=True)) for corner in box)
    return Aabb((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


def field_setting(
    manifest: Manifest, device: torch.device, backend: str = "auto"
) -> tuple[FieldSpec, FieldSetting]:
    """The field's settings and layout as the checkpoint stored them."""
    spec = FieldSpec.from_json(manifest.field, f"checkpoint of step {manifest.step}")
    layout = spec.layout(list(manifest.grid_scales))
    stored = tuple(level.resolution for level in layout.grid.levels)
    if stored != manifest.grid_resolutions:
        raise CheckpointError(
            f"the checkpoint of step {manifest.step} stores grid resolutions {manifest.grid_resolutions}"
            f" that its scales do not give ({stored}): its manifest was altered, use another checkpoint"
        )
    setting = FieldSetting(choose_backend(backend, device), layout, spec.density_scale(manifest.scene.scale))
    return spec, setting


def load_expert_model(
    uri: str,
    manifest: Manifest,
    expert: int,
    setting: FieldSetting,
    read: Callable[[str, ShardRecord], Mapping[str, torch.Tensor]] = read_shard,
) -> ExpertModel:
    """One expert's parameters and density grid from its shard, which `read` reads or maps.

    Raises:
        CheckpointError: the shard is missing, damaged or does not fit.
    """
    if expert not in manifest.shards:
        raise CheckpointError(
            f"the checkpoint {uri} has no shard of expert {expert}: train again with this partition"
        )
    record = manifest.shards[expert]
    where = f"{uri}/{record.file}"
    tensors = read(uri, record)
    box = expert_box(manifest, expert)
    return ExpertModel(
        field_params(tensors, setting.layout, where), restore_density(tensors, box, where), box
    )


def scene_model(
    manifest: Manifest,
    spec: FieldSpec,
    setting: FieldSetting,
    models: tuple[ExpertModel, ...],
    shared: Mapping[str, np.ndarray],
    chosen: Sequence[int] | None = None,
) -> SceneModel:
    """Experts, stamps and what `load_shared` gives put together, on the experts' device.

    `models` are those of the experts `chosen` (ascending), of all where None. A part of a scene shows the
    same as the whole wherever nobody else answers, as inside what `frustum.in_view` chooses for.
    """
    chosen = range(len(manifest.partition.centroids)) if chosen is None else chosen
    stamp, device = manifest.scene, models[0].params.grid.device
    background = shared.get("background")
    exposures = Exposures.of_named(shared)
    return SceneModel(
        scene_name=stamp.name,
        reference=GeodeticReference(*stamp.reference),
        crs=stamp.crs,
        origin=stamp.origin,
        scale=stamp.scale,
        aabb=Aabb(*stamp.aabb),
        flights=manifest.flights,
        experts=tuple(str(expert) for expert in chosen),
        partition_centroids=np.array([manifest.partition.centroids[i] for i in chosen], np.float64),
        dims=manifest.partition.dims,
        margin=manifest.partition.margin,
        spec=spec,
        setting=setting,
        models=models,
        background=None if background is None else torch.from_numpy(np.array(background)).to(device),
        exposures=None if exposures is None else exposures.to(device),
    )


def load_shared(uri: str, manifest: Manifest, spec: FieldSpec) -> dict[str, np.ndarray]:
    """What belongs to the whole scene, by name: background head and exposures, where there are any."""
    named = {} if manifest.shared is None else read_shard(uri, manifest.shared)
    if spec.background == "head" and "background" not in named:
        raise CheckpointError(f"the checkpoint {uri} lacks the background head that its field has")
    return {name: tensor.numpy() for name, tensor in named.items()}


def load_scene_model(path: str, prefix: str = "best", device: str = "cpu") -> SceneModel:
    """Everything of a checkpoint that pictures need.

    Args:
        path: a step folder, a checkpoints folder or a job folder (local or any `pyarrow.fs` URI).
        prefix: `best`, `last` or `step<N>`.
        device: where the parameters go.

    Raises:
        CheckpointError: it is missing or damaged; the sentence says what and what to do.
    """
    uri = resolve_checkpoint(path, prefix)
    manifest = read_manifest(uri)
    target = torch.device(device)
    spec, setting = field_setting(manifest, target)
    n_experts = len(manifest.partition.centroids)
    models = tuple(load_expert_model(uri, manifest, i, setting).to(target) for i in range(n_experts))
    return scene_model(manifest, spec, setting, models, load_shared(uri, manifest, spec))

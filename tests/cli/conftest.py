"""A small checkpoint for commands that show one."""

from pathlib import Path

import pytest
import torch

from anerf.checkpoint.manifest import Manifest, PartitionStamp, SceneStamp, write_manifest
from anerf.checkpoint.resolve import expert_file, step_folder
from anerf.checkpoint.shards import write_shard
from anerf.field.params import init_field
from anerf.field.spec import FieldSpec
from anerf.partition.regions import load_partition
from anerf.scene.scene import Scene

SPEC = FieldSpec(
    n_levels=2, features_per_level=2, log2_hashmap_size=8, base_resolution=4, max_resolution=8,
    sigma_depth=1, color_depth=1, sigma_width=16, color_width=16, dir_encoding="spherical",
    density_cap_per_m=10.0, color_space="srgb", background="0.5,0.5,0.5", background_width=16,
    sample_floor=0.3,
)  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint(tiny_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four experts over the tiny scene that have learned nothing but show something."""
    job = tmp_path_factory.mktemp("bench") / "job"
    folder = step_folder(str(job / "checkpoints"), 1)
    layout, partition = SPEC.layout(), load_partition(tiny_scene, "g22")
    shards = {}
    for expert in range(partition.n_experts):
        params = init_field(layout, torch.Generator().manual_seed(expert))
        tensors = {name: tensor * 1e4 if name == "grid" else tensor for name, tensor in params.items()}
        tensors["density"] = torch.full((4, 8, 8), 5.0)
        shards[expert] = write_shard(expert_file(folder, expert), tensors, {})
    manifest = Manifest(
        step=1,
        job_id=job.name,
        created_at="2025-06-01T12:00:00+00:00",
        scene=SceneStamp.of(tiny_scene),
        partition=PartitionStamp.of(partition),
        field=SPEC.to_json(),
        grid_resolutions=tuple(level.resolution for level in layout.grid.levels),
        grid_scales=tuple(level.scale for level in layout.grid.levels),
        shards=shards,
        shared=None,
        flights=("survey", "after"),
        seed=0,
        metrics={},
        job={"op": "train"},
    )
    write_manifest(folder, manifest)
    return job

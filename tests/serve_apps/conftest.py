"""A tiny real checkpoint: one untrained expert over a 40 m block."""

from pathlib import Path

import pytest
import torch

from anerf.checkpoint.manifest import Manifest, PartitionStamp, SceneStamp, write_manifest
from anerf.checkpoint.resolve import expert_file, step_folder
from anerf.checkpoint.shards import write_shard
from anerf.field.params import init_field
from anerf.field.spec import FieldSpec

SPEC = FieldSpec(
    n_levels=2,
    features_per_level=2,
    log2_hashmap_size=8,
    base_resolution=4,
    max_resolution=8,
    sigma_depth=1,
    color_depth=1,
    sigma_width=16,
    color_width=16,
    dir_encoding="spherical",
    density_cap_per_m=10.0,
    color_space="srgb",
    background="0.5,0.5,0.5",
    background_width=16,
    sample_floor=0.3,
)
BOX = ((-20.0, -20.0, 0.0), (20.0, 20.0, 15.0))
WHOLE = PartitionStamp("g11", ((0.0, 0.0, 7.0),), 2, 1.1, (BOX,))
# With a margin of 1.1 a region reaches at most 2 m over the middle here.
HALVES = PartitionStamp(
    "g21", ((-10.0, 0.0, 7.0), (10.0, 0.0, 7.0)), 2, 1.1,
    (((-20.0, -20.0, 0.0), (2.0, 20.0, 15.0)), ((-2.0, -20.0, 0.0), (20.0, 20.0, 15.0))),
)  # fmt: skip


def save_tiny_checkpoint(job: Path, step: int, seed: int = 0, partition: PartitionStamp = WHOLE) -> Path:
    """Write a complete checkpoint with fields of chance into `job`; returns its step folder."""
    folder = step_folder(str(job / "checkpoints"), step)
    layout = SPEC.layout()
    records = {}
    for expert in range(len(partition.centroids)):
        params = init_field(layout, torch.Generator().manual_seed(seed + 100 * expert))
        # A table that is not flat, so that pictures show something.
        tensors = {name: tensor * 1e4 if name == "grid" else tensor for name, tensor in params.items()}
        tensors["density"] = torch.full((4, 8, 8), 5.0)
        records[expert] = write_shard(expert_file(folder, expert), tensors, {})
    write_manifest(
        folder,
        Manifest(
            step=step,
            job_id=job.name,
            created_at="2025-06-01T12:00:00+00:00",
            scene=SceneStamp(
                "block", "/s", (50.0, 7.0, 100.0), "EPSG:32632", (0.0,) * 3, 20.0, BOX, (0.0, 15.0)
            ),
            partition=partition,
            field=SPEC.to_json(),
            grid_resolutions=tuple(level.resolution for level in layout.grid.levels),
            grid_scales=tuple(level.scale for level in layout.grid.levels),
            shards=records,
            shared=None,
            flights=("before", "nach"),
            seed=seed,
            metrics={"psnr": 24.1},
            job={"op": "train"},
        ),
    )
    return Path(folder)


@pytest.fixture
def out_root(tmp_path: Path) -> Path:
    """An output folder with the job `demo` at steps 100 and 200."""
    save_tiny_checkpoint(tmp_path / "logs" / "demo", 100)
    save_tiny_checkpoint(tmp_path / "logs" / "demo", 200, seed=1)
    return tmp_path / "logs"


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """An output folder with the job `two` of two experts, west and east."""
    save_tiny_checkpoint(tmp_path / "logs" / "two", 100, partition=HALVES)
    return tmp_path / "logs"


@pytest.fixture
def down() -> list[list[float]]:
    """A pose 60 m above the middle of the block, looking straight down."""
    return [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 60.0]]

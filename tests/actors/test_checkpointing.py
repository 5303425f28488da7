"""Which checkpoint of a job is the best, also after the job was interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.checkpointing import Checkpoints
from actors.patience import PatientDiary
from actors.training import _keep
from anerf.checkpoint.manifest import Manifest, PartitionStamp, SceneStamp
from anerf.checkpoint.resolve import expert_file, resolve_checkpoint, step_folder
from anerf.checkpoint.shards import write_shard
from anerf.jobs.events import JobLog

BOX = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STAMP = Manifest(
    step=0,
    job_id="job",
    created_at="2026-01-01T00:00:00Z",
    scene=SceneStamp("s", "/s", (50.0, 8.0, 100.0), "EPSG:32632", (0.0, 0.0, 0.0), 1.0, BOX, (0.0, 1.0)),
    partition=PartitionStamp("p", ((0.5, 0.5, 0.5),), 2, 1.0, (BOX,)),
    field={},
    grid_resolutions=(),
    grid_scales=(),
    shards={},
    shared=None,
    flights=("survey",),
    seed=0,
    metrics={},
    job={},
)


def saved(checkpoints: Checkpoints, step: int, psnr_db: float | None) -> None:
    metrics = {} if psnr_db is None else {"psnr_db": psnr_db}
    record = write_shard(expert_file(step_folder(checkpoints.root, step), 0), {"x": torch.ones(1)}, {})
    checkpoints.commit(replace(STAMP, step=step, metrics=metrics), {0: record}, None)
    checkpoints.rate(step, psnr_db)


def best(root: Path) -> str:
    return resolve_checkpoint(str(root), "best")[-7:]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def reopened(root: Path) -> Checkpoints:
    return Checkpoints.reopened(str(root), PatientDiary(JobLog(root.parent), lambda: False), keep=2)


def test_a_job_that_goes_on_must_beat_what_it_had(root):
    first = reopened(root)
    saved(first, 1, 20.0)
    saved(first, 2, 25.0)
    again = reopened(root)
    saved(again, 3, 24.0)
    assert best(root) == "0000002"
    saved(again, 4, 25.5)
    assert best(root) == "0000004"


def test_one_that_was_not_measured_is_best_only_until_one_was(root):
    checkpoints = reopened(root)
    saved(checkpoints, 1, None)
    assert best(root) == "0000001"
    saved(checkpoints, 2, 10.0)
    saved(checkpoints, 3, None)
    assert best(root) == "0000002"


def test_what_was_measured_is_not_written_again_without_its_measure(root):
    checkpoints = reopened(root)
    saved(checkpoints, 1, 25.0)
    no_experts: Any = None
    _keep(checkpoints, no_experts, replace(STAMP, step=1))
    saved(reopened(root), 2, 10.0)
    assert best(root) == "0000001"


def test_what_is_written_again_does_not_exist_meanwhile(root):
    checkpoints = reopened(root)
    saved(checkpoints, 1, None)
    checkpoints.withdraw(1)
    assert not checkpoints.has(1)
    checkpoints.withdraw(2)  # there is none
    saved(checkpoints, 1, None)
    assert checkpoints.has(1)

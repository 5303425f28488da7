"""Which step folder a path and a prefix mean."""

import dataclasses
from pathlib import Path

import pytest
import torch

from anerf.checkpoint.manifest import Manifest, PartitionStamp, SceneStamp, write_manifest
from anerf.checkpoint.resolve import (
    complete_steps,
    expert_file,
    mark_best,
    prune,
    resolve_checkpoint,
    step_folder,
)
from anerf.checkpoint.shards import write_shard
from anerf.errors import CheckpointError

_BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def _save(job: Path, step: int, *, finished: bool = True) -> str:
    folder = step_folder(str(job / "checkpoints"), step)
    record = write_shard(expert_file(folder, 0), {"x": torch.ones(2)}, {})
    manifest = Manifest(
        step=step,
        job_id=job.name,
        created_at="2025-06-01T12:00:00+00:00",
        scene=SceneStamp("block", "/s", (50.0, 7.0, 100.0), "EPSG:32632", (0.0,) * 3, 1.0, _BOX, (0.0, 1.0)),
        partition=PartitionStamp("g11", ((0.0,) * 3,), 2, 1.1, (_BOX,)),
        field={},
        grid_resolutions=(16,),
        grid_scales=(15.0,),
        shards={0: record},
        shared=None,
        flights=(),
        seed=0,
        metrics={},
        job={},
    )
    if finished:
        write_manifest(folder, dataclasses.replace(manifest, step=step))
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job with steps 100, 200 and 300 complete, 400 killed while being written, 200 the best."""
    job = tmp_path / "demo"
    for step in (100, 200, 300):
        _save(job, step)
    _save(job, 400, finished=False)
    mark_best(str(job / "checkpoints"), 200)
    return job


@pytest.mark.parametrize(
    ("prefix", "step"), [("best", 200), ("last", 300), ("step100", 100), ("step0000100", 100)]
)
@pytest.mark.parametrize("below", ["", "checkpoints", "checkpoints/"])
def test_prefixes_from_a_job_or_its_checkpoints(job: Path, prefix: str, step: int, below: str) -> None:
    found = resolve_checkpoint(f"{job}/{below}" if below else str(job), prefix)
    assert Path(found) == job / "checkpoints" / f"step{step:07d}"


def test_a_step_folder_is_itself(job: Path) -> None:
    folder = step_folder(str(job / "checkpoints"), 100)
    assert resolve_checkpoint(folder, "best") == folder
    assert resolve_checkpoint(folder, "step100") == folder
    with pytest.raises(CheckpointError, match="is step 100, not step200"):
        resolve_checkpoint(folder, "step200")


def test_an_unfinished_step_does_not_exist(job: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint step400 .*complete are steps 100, 200, 300"):
        resolve_checkpoint(str(job), "step400")
    with pytest.raises(CheckpointError, match="never finished"):
        resolve_checkpoint(step_folder(str(job / "checkpoints"), 400), "best")


def test_best_without_a_pointer_names_what_exists(job: Path) -> None:
    (job / "checkpoints" / "best.json").unlink()
    with pytest.raises(CheckpointError, match=r"No best checkpoint is marked .*100, 200, 300"):
        resolve_checkpoint(str(job), "best")


def test_a_single_complete_checkpoint_is_the_best(tmp_path: Path) -> None:
    folder = _save(tmp_path / "demo", 50)
    assert resolve_checkpoint(str(tmp_path / "demo")) == folder


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"step": "200"}', '{"step": true}', "\0"])
def test_a_damaged_pointer_is_named(job: Path, text: str) -> None:
    (job / "checkpoints" / "best.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"best\.json"):
        resolve_checkpoint(str(job), "best")


def test_a_pointer_to_a_step_that_is_gone_is_named(job: Path) -> None:
    (job / "checkpoints" / "best.json").write_text('{"step": 900}')
    with pytest.raises(CheckpointError, match="complete are steps 100, 200, 300"):
        resolve_checkpoint(str(job), "best")


def test_best_must_be_complete(job: Path) -> None:
    with pytest.raises(CheckpointError, match="no manifest"):
        mark_best(str(job / "checkpoints"), 400)


@pytest.mark.parametrize("prefix", ["newest", "", "step", "step-1", "step1.5", "step٣", "best ", "../best"])
def test_other_prefixes_are_refused(job: Path, prefix: str) -> None:
    with pytest.raises(CheckpointError, match="is unknown: use best, last or step"):
        resolve_checkpoint(str(job), prefix)


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No complete checkpoint under .*nowhere"):
        resolve_checkpoint(str(tmp_path / "nowhere"), "last")


def test_places_that_cannot_be_looked_into_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="No complete checkpoint under"):
        resolve_checkpoint(str(tmp_path / "file"), "last")
    with pytest.raises(CheckpointError, match="cannot be looked into"):
        resolve_checkpoint(str(tmp_path / ("x" * 300)), "last")


def test_prune_keeps_the_newest_and_the_best_and_what_is_being_written(job: Path) -> None:
    checkpoints = job / "checkpoints"
    assert prune(str(checkpoints), keep=1) == [100]
    assert complete_steps(str(checkpoints)) == [200, 300]
    assert (checkpoints / "step0000400").is_dir()
    _save(job, 500)
    assert prune(str(checkpoints), keep=1) == [300, 400]
    assert complete_steps(str(checkpoints)) == [200, 500]
    assert prune(str(checkpoints), keep=5) == []


def test_prune_never_deletes_everything(job: Path) -> None:
    with pytest.raises(CheckpointError, match="keep is 0"):
        prune(str(job / "checkpoints"), keep=0)

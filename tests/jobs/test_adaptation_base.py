"""Which checkpoint an adaptation and its experts start from, while a training beside it saves others."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from anerf.checkpoint.manifest import FILE
from anerf.checkpoint.resolve import mark_best, step_folder
from anerf.jobs.folder import accept_job
from anerf.jobs.learning import base_checkpoint, job_of
from anerf.jobs.spec import EvalJob, parse_job


def save(trained: Path, step: int) -> str:
    """A checkpoint as far as it must be there to be found, and the best so far."""
    folder = Path(step_folder(str(trained), step))
    folder.mkdir(parents=True)
    (folder / FILE).write_text("{}", encoding="utf-8")
    mark_best(str(trained), step)
    return str(folder)


def base_of(job_dir: Path, told: str | None = None) -> str:
    job = job_of(str(job_dir), told)
    assert isinstance(job, EvalJob)
    return base_checkpoint(job)


@pytest.mark.parametrize("prefix", ["best", "last", "step100"])
def test_who_is_told_the_base_looks_for_no_newer_one(tmp_path, prefix):
    trained = tmp_path / "trained" / "checkpoints"
    first = save(trained, 100)
    content = {"op": "eval", "job_id": "adapt", "scene": "s", "checkpoint_path": str(trained.parent)}
    folder = accept_job(parse_job({**content, "prefix": prefix}), tmp_path, "run").folder
    found = base_of(folder)
    newer = save(trained, 200)
    assert (found, base_of(folder, found)) == (first, first)
    assert base_of(folder) == (first if prefix == "step100" else newer)  # a new attempt looks again


def test_stored_settings_are_those_of_the_base(tmp_path, monkeypatch):
    trained = tmp_path / "trained" / "checkpoints"
    first = save(trained, 100)
    content = {"op": "eval", "job_id": "adapt", "scene": "s", "checkpoint_path": str(trained)}
    folder = accept_job(parse_job({**content, "use_stored_args": True}), tmp_path, "run").folder
    save(trained, 200)
    stored = {first: SimpleNamespace(job={"near": 2.0})}
    monkeypatch.setattr("anerf.jobs.learning.read_manifest", stored.__getitem__)
    job = job_of(str(folder), first)
    assert isinstance(job, EvalJob)
    assert (job.near, base_checkpoint(job)) == (2.0, first)

"""Checkpoints by name: those of the output folder, of the same place, and nothing else."""

import os
from pathlib import Path

import pytest
import torch

from anerf.checkpoint.load import load_scene_model
from anerf.errors import InputError
from anerf.viewer.shelf import Shelf, ancestor_of
from tests.serve_apps.conftest import save_tiny_checkpoint
from tests.somebody import open_folder, somebody


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    for job, step in (("a", 100), ("a", 200), ("b", 300)):
        save_tiny_checkpoint(tmp_path / job, step, seed=step)
    (tmp_path / "no-job").mkdir()
    return Shelf(tmp_path, load_scene_model, most=2)


def test_names_are_jobs_and_steps_the_newest_first(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.known == ()
    assert shelf.names() == ("a, step 200", "a, step 100", "b, step 300")
    assert shelf.known == shelf.names()
    assert shelf.name_of(shelf.uri("b, step 300")) == "b, step 300"
    assert shelf.name_of(str(tmp_path)) is None


def test_folders_that_are_closed_to_us_are_passed_over() -> None:
    with open_folder() as out:
        save_tiny_checkpoint(out / "a", 100, seed=1)
        (out / "b" / "checkpoints").mkdir(parents=True)
        for closed in (out / "lost+found", out / "b" / "checkpoints"):
            closed.mkdir(exist_ok=True)
            closed.chmod(0)
        with somebody():
            assert Shelf(out, load_scene_model).names() == ("a, step 100",)


def test_of_too_many_jobs_the_newest_are_offered(shelf: Shelf, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("anerf.viewer.shelf._MOST_JOBS", 1)
    os.utime(tmp_path / "a" / "checkpoints", (1, 1))
    assert shelf.names() == ("b, step 300",)


@pytest.mark.parametrize("name", ["", "a", "../a, step 100", "/etc/passwd", "c, step 1"])
def test_other_names_lead_nowhere(shelf: Shelf, name: str) -> None:
    first = shelf.get(shelf.names()[0], load_scene_model(shelf.uri("a, step 100")))
    with pytest.raises(InputError, match="is not in the list"):
        shelf.get(name, first)


def test_the_last_few_models_are_kept(shelf: Shelf) -> None:
    names = shelf.names()
    like = load_scene_model(shelf.uri(names[0]))
    first = shelf.get(names[0], like)
    assert shelf.get(names[0], like) is first
    for name in names[1:]:
        shelf.get(name, like)
    assert shelf.get(names[0], like) is not first


def test_a_step_that_was_saved_again_is_shown_as_it_is_now(shelf: Shelf, tmp_path: Path) -> None:
    name = shelf.names()[0]
    like = load_scene_model(shelf.uri(name))
    first = shelf.get(name, like)
    save_tiny_checkpoint(tmp_path / "a", 200, seed=7)
    again = shelf.get(name, like)
    assert not torch.equal(again.models[0].params.grid, first.models[0].params.grid)
    assert shelf.get(name, like) is again


def test_what_an_adaptation_began_with() -> None:
    job = {"op": "eval", "job_id": "e", "checkpoint_path": "logs/t", "prefix": "last", "scene": "s"}
    assert ancestor_of(job) == ("logs/t", "last")
    assert ancestor_of({**job, "op": "train"}) is None

"""Checkpoints by name: those of the output folder, of the same place, and nothing else."""

from pathlib import Path

import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.errors import InputError
from anerf.viewer.shelf import Shelf, ancestor_of
from tests.serve_apps.conftest import save_tiny_checkpoint


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


def test_what_an_adaptation_began_with() -> None:
    job = {"op": "eval", "job_id": "e", "checkpoint_path": "logs/t", "prefix": "last", "scene": "s"}
    assert ancestor_of(job) == ("logs/t", "last")
    assert ancestor_of({**job, "op": "train"}) is None

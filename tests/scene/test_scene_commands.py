"""`anerf prepare`, `update` and `partition` as a user types them."""

import json

import pytest
import tyro

from anerf.cli.partition import partition
from anerf.cli.prepare import prepare
from anerf.cli.update import update
from anerf.errors import InputError
from anerf.scene.scene import load_scene


def test_from_survey_to_partition(survey, make_survey, tmp_path, capsys):
    out, flight = str(tmp_path / "scene"), tmp_path / "flight"
    tyro.cli(prepare, args=[str(survey), "--out", out, "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["splits"] == {"train": 9, "val": 1}
    assert summary["reprojection_px"] == pytest.approx(summary["model_reprojection_px"], abs=1e-4)
    make_survey(flight, n=3, seed=5)
    tyro.cli(update, args=[out, str(flight), "--batch", "after", "--json"])
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 9, "val": 1, "after": 3}
    tyro.cli(partition, args=[out, "--grid", "2", "1", "--margin", "1.2", "--name", "g21", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["margin"], len(made["experts"])) == ("g21", 1.2, 2)
    assert all(expert["pixels"] > 0 and expert["frames"] > 0 for expert in made["experts"])


def test_tables_are_for_people(survey, tmp_path, capsys):
    tyro.cli(prepare, args=[str(survey), "--out", str(tmp_path / "scene"), "--name", "town"])
    shown = capsys.readouterr().out
    assert "10 (train 9, val 1)" in shown
    assert "0.50 px" in shown
    tyro.cli(partition, args=[str(tmp_path / "scene")])
    assert "g22_grid_bm110 of town" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "name", "dims", "n"),
    [
        (["--grid", "2", "1", "2"], "g212_grid_bm110", 3, 4),
        (["--kmeans", "3", "--seed", "7"], "k3_bm110", 2, 3),
        (["--balanced", "3", "--margin", "1"], "b3_bm100", 2, 3),
        (["--balanced", "2", "--dims", "3"], "b2_3d_bm110", 3, 2),
    ],
)
def test_designs_of_partitions(survey, tmp_path, capsys, options, name, dims, n):
    tyro.cli(prepare, args=[str(survey), "--out", str(tmp_path / "scene")])
    capsys.readouterr()
    tyro.cli(partition, args=[str(tmp_path / "scene"), *options, "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["dims"], len(made["experts"])) == (name, dims, n)
    assert sum(expert["share"] for expert in made["experts"]) == pytest.approx(1, abs=1e-4)
    own = [expert["own_pixels"] for expert in made["experts"]]
    assert made["imbalance"] == pytest.approx(max(own) / min(own) - 1, abs=1e-6)
    assert made["imbalance"] < 0.1 or "--balanced" not in options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kmeans", "3", "--balanced", "3"], "--kmeans and --balanced are two designs; give one"),
        (["--grid", "2", "2", "--dims", "3"], "--dims 3 does not suit --grid with 2 numbers"),
        (["--margin", "0.9"], "margin of 0.9 cannot be"),
    ],
)
def test_designs_that_cannot_be(survey, tmp_path, options, says):
    tyro.cli(prepare, args=[str(survey), "--out", str(tmp_path / "scene")])
    with pytest.raises(InputError, match=says):
        tyro.cli(partition, args=[str(tmp_path / "scene"), *options])


def test_reference_and_heights_as_words(survey, tmp_path):
    arguments = ["--enu-ref", "51.5,7.4,150", "--altitude-range", "-40,-20"]
    tyro.cli(prepare, args=[str(survey), "--out", str(tmp_path / "scene"), *arguments])
    scene = load_scene(tmp_path / "scene")
    assert scene.reference.height_m == 150
    assert (scene.aabb.lo[2], scene.aabb.hi[2]) == (-40, -20)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--enu-ref", "51.5,7.4"], "--enu-ref 51.5,7.4 is not of the form LATITUDE,LONGITUDE,HEIGHT"),
        (["--enu-ref", "north,7.4,3"], "is not of the form"),
        (["--enu-ref", "7.4,200,51.5,0"], "give 3 numbers"),
        (["--altitude-range", "5,1"], "--altitude-range 5,1 is empty"),
        (["--val-every", "1"], "leaves none to learn from"),
    ],
)
def test_options_that_cannot_be(survey, tmp_path, option, says):
    with pytest.raises(InputError, match=says):
        tyro.cli(prepare, args=[str(survey), "--out", str(tmp_path / "scene"), *option])
    assert not (tmp_path / "scene").exists()

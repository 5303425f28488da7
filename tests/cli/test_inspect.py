"""`anerf inspect` as a user types it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from anerf.cli.inspect import inspect
from anerf.errors import InputError, PartitionError, SceneError
from anerf.scene.gps import GpsFix
from anerf.scene.prepare import prepare_scene
from anerf.scene.scene import Scene, save_scene
from cluster.cli import COMMANDS

FINDING_KEYS = {"level", "text"}
PHOTOGRAPH_KEYS = {
    "file",
    "split",
    "enu_m",
    "height_m",
    "heading_deg",
    "off_nadir_deg",
    "gps_height_m",
    "gps_minus_camera_m",
}


def run(*arguments: object) -> None:
    tyro.cli(inspect, args=[str(argument) for argument in arguments])


def test_it_tells_on_the_terminal_and_writes_a_page(tiny_scene: Scene, tmp_path: Path, capsys):
    run(tiny_scene.root, "--out", tmp_path / "sub" / "tiny.html")
    shown = " ".join(capsys.readouterr().out.split())
    assert "survey: 16 photographs, captured" in shown
    assert "after: 8 photographs" in shown
    assert "partition g22: grid 2 x 2" in shown
    assert "The photographs of after came after this partition was made" in shown
    page = (tmp_path / "sub" / "tiny.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count('<svg class="map"') == 2
    assert list((tmp_path / "sub").iterdir()) == [tmp_path / "sub" / "tiny.html"]


def test_the_page_lies_in_the_scene_unless_said_otherwise(tiny_survey: Path, tmp_path: Path, capsys):
    scene = prepare_scene(tiny_survey / "before", tmp_path / "scene")
    run(scene.root)
    assert str(scene.root / "inspect.html") in capsys.readouterr().out.replace("\n", "")
    assert (scene.root / "inspect.html").is_file()


def test_what_forbids_to_go_on_is_said_and_no_error(tiny_survey: Path, tmp_path: Path, capsys):
    scene = prepare_scene(tiny_survey / "before", tmp_path / "scene")
    frames = tuple(
        replace(frame, gps=GpsFix(frame.gps.latitude_deg + 0.1, frame.gps.longitude_deg, None))
        for frame in scene.frames
        if frame.gps is not None
    )
    save_scene(replace(scene, frames=frames, name="[/red] town"))
    run(scene.root)
    shown = " ".join(capsys.readouterr().out.split())
    assert "\u2716 stop GPS is 11" in shown
    assert "16 photographs, 1 stop;" in shown
    assert "scene [/red] town" in shown
    assert "16 GPS positions lie too far away for this map." in (scene.root / "inspect.html").read_text()


def test_json_holds_findings_residuals_and_coverage(tiny_scene: Scene, tmp_path: Path, capsys):
    out = tmp_path / "tiny.html"
    run(tiny_scene.root, "--json", "--out", out)
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(out)
    assert out.is_file()
    assert sum(told["splits"].values()) == len(told["photographs"]) == 24
    assert [flight["name"] for flight in told["flights"]] == ["survey", "after"]
    for flight in told["flights"]:
        assert all(set(finding) == FINDING_KEYS for finding in flight["findings"])
        assert flight["with_gps"] == flight["photographs"]
        assert flight["horizontal_rms_m"] >= 0
    for photograph in told["photographs"]:
        assert set(photograph) == PHOTOGRAPH_KEYS
        assert len(photograph["gps_minus_camera_m"]) == 3
    (partition,) = told["partitions"]
    assert (partition["name"], len(partition["experts"]), partition["came_later"]) == ("g22", 4, ["after"])
    assert sum(expert["share"] for expert in partition["experts"]) == pytest.approx(1)
    largest = max(expert["share"] for expert in partition["experts"])
    assert partition["imbalance"] == pytest.approx(4 * largest)
    assert told["cameras"][0]["photographs"] <= 24
    assert told["broken_partitions"] == []


def test_a_partition_that_is_not_there_is_one_sentence(tiny_scene: Scene, tmp_path: Path):
    with pytest.raises(PartitionError, match=r"has no partition g99 \(there is g22\)"):
        run(tiny_scene.root, "--partition", "g99", "--out", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_what_is_no_scene_and_what_cannot_be_written_is_one_sentence(tiny_scene: Scene, tmp_path: Path):
    with pytest.raises(SceneError, match="is no scene"):
        run(tmp_path)
    with pytest.raises(InputError, match=r"cannot be written to .* give another file with --out"):
        run(tiny_scene.root, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_says_what_is_wrong_with_a_real_flight(shared_data: Path, tmp_path: Path, capsys):
    scene = prepare_scene(shared_data / "data/caliterra", tmp_path / "caliterra")
    run(scene.root)
    shown = " ".join(capsys.readouterr().out.split())
    assert "the GPS is weak: it is 16.7 m rms off" in shown
    assert "the GPS heights drift: they climb steadily from 322 m to 424 m" in shown
    assert "75 photographs, 3 warnings" in shown


def test_the_command_is_known():
    assert COMMANDS["inspect"].module == inspect.__module__

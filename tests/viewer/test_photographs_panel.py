"""Photographs are chosen by name or by their camera: each of them, and as often as one likes."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import viser

from anerf.scene.frames import Frame
from anerf.scene.scene import Scene
from anerf.viewer.panels.photographs import PhotographsPanel
from anerf.viewer.surroundings import Surroundings


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    started = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield started
    started.stop()


class Survey:
    """A panel of photographs that two cameras named alike, and where it flew."""

    def __init__(self, server: viser.ViserServer, scene: Scene) -> None:
        frame = replace(scene.frames[0], split="train")
        files = ["images/left/0001.jpg", "images/right/0001.jpg", "images/right/0002.jpg"]
        self.frames = tuple(replace(frame, id=number, file=file) for number, file in enumerate(files))
        nothing = Surroundings.nothing("")
        around = replace(nothing, frames=self.frames, splits=("train",), missing=None, scene=scene)
        self.panel = PhotographsPanel(server.gui, around, scene.reference)
        self.flown: list[Frame] = []
        self.panel.on_fly(self.flown.append)

    @property
    def names(self) -> list[str]:
        return list(self.panel._name.options)


@pytest.fixture
def survey(server: viser.ViserServer, tiny_scene: Scene) -> Survey:
    return Survey(server, tiny_scene)


def test_photographs_of_two_folders_have_two_names(survey):
    assert survey.names == ["none", "train: left/0001.jpg", "train: right/0001.jpg", "train: right/0002.jpg"]
    for frame in survey.frames:
        survey.panel.choose(frame)
    assert survey.flown == list(survey.frames)


def test_a_click_on_the_chosen_camera_flies_there_again(survey):
    survey.panel.choose(survey.frames[1])
    survey.panel.choose(survey.frames[1])
    assert survey.flown == [survey.frames[1]] * 2


def test_every_camera_can_be_chosen_where_not_all_are_listed(server, tiny_scene, monkeypatch):
    monkeypatch.setattr("anerf.viewer.panels.photographs._MOST_NAMES", 2)
    survey = Survey(server, tiny_scene)
    assert survey.names == ["none", "train: left/0001.jpg", "train: right/0002.jpg"]
    survey.panel.choose(survey.frames[1])
    assert survey.flown == [survey.frames[1]]
    assert survey.names[2] == survey.panel._name.value == "train: right/0001.jpg"

"""Camera paths that several browsers save, and their videos: of what is on the screen, as it was then."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import read_manifest, write_manifest
from anerf.geometry.rays import look_at
from anerf.products.path_file import read_path
from anerf.viewer.live import Film
from anerf.viewer.path_draft import saved_names
from anerf.viewer.scene_viewer import SceneViewer
from tests.serve_apps.conftest import HALVES, save_tiny_checkpoint
from tests.viewer.patience import wait_for
from tests.viewer.test_live_scenes_on_the_wire import Paused
from tests.viewer.test_viewer_on_the_wire import FOV_Y_DEG, POSE, House, rendered, shows
from tests.viewer.wire import WireClient

FLOODED = "flooded, step 300"
ELSEWHERE = look_at((-30.0, -30.0, 50.0), (0.0, 0.0, 0.0))


class Cinema(Paused):
    """A cluster where videos wait for their turn."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.queued: list[Film] = []

    def film(self, wish: Film) -> str:
        self.queued.append(wish)
        return f"v{len(self.queued)}"

    def last(self, n: int) -> Film:
        """The n-th video, as soon as it is asked for."""
        wait_for(lambda: len(self.queued) >= n)
        return self.queued[n - 1]


class Town(House):
    """Seen before a flood that one of its checkpoints knows; a job learns it, too."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self.viewer.stop()
        self.flooded = str(save_tiny_checkpoint(out / "flooded", 300, seed=5, partition=HALVES))
        known = read_manifest(self.flooded)
        write_manifest(self.flooded, replace(known, flights=(*known.flights, "flood")))
        self.shelf.names()
        self.jobs = Cinema(self.flooded)
        self.show(self.exhibit.name)

    def show(self, name: str) -> None:
        """Serve the checkpoint of this name instead."""
        self.viewer.stop()
        uri = self.shelf.uri(name)
        self.exhibit = replace(
            self.exhibit,
            name=name,
            uri=uri,
            model=load_scene_model(uri),
            jobs=self.jobs,  # pyright: ignore[reportArgumentType]
        )
        self.viewer = SceneViewer(self.exhibit, "127.0.0.1", 0)

    def saved(self, name: str) -> str:
        return (self.exhibit.out / "paths" / f"{name}.json").read_text()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.viewer.stop()


@pytest.fixture
def look(town: Town) -> Iterator[Callable[[], WireClient]]:
    """Opens browsers, each with two views from `POSE` on its path."""
    opened: list[WireClient] = []

    def open_one() -> WireClient:
        client = WireClient(town.viewer.url)
        opened.append(client)
        client.stand(town.frame, POSE, FOV_Y_DEG)
        client.next_final()
        for known in ("1 view,", "2 views,"):
            add_view(client, known)
        return client

    yield open_one
    for client in opened:
        client.close()


def add_view(client: WireClient, known: str) -> None:
    client.press("Add this view")
    client.wait(lambda: known in str(client.of_type("GuiUpdate")))


def shows_look(client: WireClient, flight: str, checkpoint_uri: str) -> None:
    """Waits until the browser shows the checkpoint, and its viewer has this look itself.

    viser tells a control's new value before it has that; the picture comes after both.
    """
    client.wait(lambda: client.props("Look of flight").get("value") == flight)
    shows(client, rendered(load_scene_model(checkpoint_uri)))


def told(client: WireClient, text: str, n: int = 1) -> None:
    """Waits until the browser was told so, as often as that."""
    client.wait(lambda: sum(text in str(message) for message in client.of_type("Notification")) >= n)


def test_a_video_has_the_look_that_its_own_checkpoint_knows(town: Town, look) -> None:
    client = look()
    client.set("After", FLOODED)
    shows_look(client, "flood", town.flooded)
    client.press("Render video")
    wish = town.jobs.last(1)
    assert (wish.checkpoint_uri, wish.flight) == (town.flooded, "flood")


def test_a_video_of_what_does_not_know_the_shown_look_has_its_own(town: Town, look) -> None:
    town.show(FLOODED)
    client = look()
    old = town.shelf.uri("old, step 100")
    client.set("After", "old, step 100")
    shows_look(client, "nach", old)
    client.set("Follow job", "j")  # which knows the flood; what can be filmed is the checkpoint before it
    shows_look(client, "flood", town.flooded)
    client.press("Render video")
    wish = town.jobs.last(1)
    assert (wish.checkpoint_uri, wish.flight) == (old, None)


def test_videos_keep_the_paths_that_they_were_asked_for_with(town: Town, look) -> None:
    one = look()
    one.set("Name", "round")
    one.set("File", "save")
    told(one, "Path saved")
    one.press("Render video")
    first = town.jobs.last(1)
    add_view(one, "3 views,")
    one.press("Render video")
    second = town.jobs.last(2)
    one.set("File", "save")
    told(one, "Path saved", 2)
    files = [Path(wish.path_file) for wish in (first, second)]
    n_keys = [len(read_path(file, town.model.reference).keys) for file in files]
    assert n_keys == [2, 3]
    assert all(file.is_relative_to(town.exhibit.out) for file in files)
    assert saved_names(town.exhibit.out) == ("round",)


def test_a_path_of_somebody_else_is_replaced_only_after_it_was_opened(town: Town, look) -> None:
    one, other = look(), look()
    one.set("File", "save")
    told(one, "Path saved")
    of_one = town.saved("path")
    add_view(other, "3 views,")
    other.set("File", "save")
    told(other, "path 'path' is there already")
    assert town.saved("path") == of_one

    n_before = str(other.of_type("GuiUpdate")).count("2 views,")
    other.set("File", "open")
    other.wait(lambda: str(other.of_type("GuiUpdate")).count("2 views,") > n_before)
    other.stand(town.frame, ELSEWHERE, FOV_Y_DEG)
    other.next_final()
    n_before = str(other.of_type("GuiUpdate")).count("3 views,")
    other.press("Add this view")
    other.wait(lambda: str(other.of_type("GuiUpdate")).count("3 views,") > n_before)
    other.set("File", "save")
    told(other, "Path saved")
    of_other = town.saved("path")
    assert of_other != of_one

    one.set("File", "save")  # it saved this one once, and would undo what came after
    told(one, "path 'path' is there already")
    assert town.saved("path") == of_other
    one.set("Name", "mine")
    one.set("File", "save")
    told(one, "Path saved", 2)
    assert town.saved("mine") == of_one

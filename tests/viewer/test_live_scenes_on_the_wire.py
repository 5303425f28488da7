"""A running job's scene in a browser: shown while it is looked at, in nobody's memory afterwards."""

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.render.scene_model import SceneModel
from anerf.viewer.live import JobNews, LiveScene
from anerf.viewer.scene_viewer import SceneViewer
from tests.viewer.patience import PATIENCE_S, wait_for
from tests.viewer.test_viewer_on_the_wire import FOV_Y_DEG, POSE, House, rendered, shows
from tests.viewer.wire import WireClient


class Paused:
    """The jobs of a cluster where one stands still; it offers its scene to whoever does not know it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.offered: list[weakref.ref[SceneModel]] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()

    def wait_for(self, n_held: int) -> None:
        """Until so many scenes are in memory."""

        def is_so() -> bool:
            gc.collect()
            return sum(offered() is not None for offered in self.offered) == n_held

        wait_for(is_so)

    def running(self) -> tuple[str, ...]:
        self.asked.set()
        assert self.may_answer.wait(PATIENCE_S)
        return ("j",)

    def news(self, job_id: str) -> JobNews:
        return JobNews(job_id, "train", "paused")

    def scene(self, job_id: str, known: str | None) -> LiveScene | None:
        if known is not None:
            return None
        model = load_scene_model(self._uri)
        self.offered.append(weakref.ref(model))
        return LiveScene("mark", 1, model)


class LiveHouse(House):
    """Where a job runs, too."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self.viewer.stop()
        self.jobs = Paused(self.shelf.uri("old, step 100"))
        exhibit = replace(self.exhibit, jobs=self.jobs)  # pyright: ignore[reportArgumentType]
        self.viewer = SceneViewer(exhibit, "127.0.0.1", 0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LiveHouse]:
    made = LiveHouse(tmp_path)
    yield made
    made.viewer.stop()


@pytest.fixture
def client(house: LiveHouse) -> Iterator[WireClient]:
    opened = WireClient(house.viewer.url)
    opened.stand(house.frame, POSE, FOV_Y_DEG)
    opened.next_final()
    yield opened
    opened.close()


def test_a_scene_is_let_go_when_nobody_looks_and_comes_back(house: LiveHouse, client: WireClient) -> None:
    own, learned = rendered(house.model), rendered(house.shelf.get("old, step 100", house.model))
    client.set("Follow job", "j")
    shows(client, learned)
    house.jobs.wait_for(1)

    client.set("After", house.exhibit.name)
    shows(client, own)
    client.set("After", "live: j")  # it stands still: nothing newer will come
    shows(client, learned)

    client.set("Show its scene as it learns", False)
    shows(client, own)
    house.jobs.wait_for(0)
    client.set("Show its scene as it learns", True)
    shows(client, learned)
    house.jobs.wait_for(1)


@pytest.mark.filterwarnings("ignore:Queued a Gui")
def test_a_browser_that_leaves_while_its_panels_are_built_leaves_nothing(house: LiveHouse) -> None:
    house.jobs.may_answer.clear()
    has_left = threading.Event()
    server = house.viewer._server
    server.on_client_disconnect(lambda _: has_left.set())  # called after the viewer's own
    hasty = WireClient(house.viewer.url)
    hasty.stand(house.frame, POSE, FOV_Y_DEG)
    assert house.jobs.asked.wait(PATIENCE_S)
    hasty.close()
    assert has_left.wait(PATIENCE_S)
    house.jobs.may_answer.set()
    server._thread_executor.shutdown(wait=True)  # the panels are built there
    assert house.viewer.n_clients == 0
    assert not any(thread.name == "viewer-client" for thread in threading.enumerate())

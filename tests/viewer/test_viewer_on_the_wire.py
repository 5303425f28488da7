"""The whole viewer, as a browser's messages reach it: no page, no Ray."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anerf.checkpoint.load import load_scene_model
from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.products.colormap import to_uint8
from anerf.products.layers import layer_picture
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from anerf.render.view import Picture
from anerf.viewer.camera import ViewFrame
from anerf.viewer.choices import Quality, View
from anerf.viewer.drawing import Drawing, Shown, draw
from anerf.viewer.scene_viewer import SceneViewer
from anerf.viewer.settings import Exhibit
from anerf.viewer.shelf import Shelf
from anerf.viewer.surroundings import Surroundings
from anerf.viewer.worker import LatestWinsWorker
from tests.serve_apps.conftest import HALVES, save_tiny_checkpoint
from tests.viewer.patience import PATIENCE_S, wait_for
from tests.viewer.wire import WireClient

WIDTH_PX, SAMPLES, FOV_Y_DEG = 192, 16, 60.0
POSE = look_at((5.0, -45.0, 40.0), (0.0, 0.0, 5.0))


class House:
    """A viewer of a checkpoint of two experts, with another one to compare with."""

    def __init__(self, out: Path) -> None:
        save_tiny_checkpoint(out / "old", 100, seed=3, partition=HALVES)
        uri = str(save_tiny_checkpoint(out / "new", 200, seed=7, partition=HALVES))
        self.ended = threading.Event()
        self.model = load_scene_model(uri)
        self.shelf = Shelf(out, load_scene_model)
        self.shelf.names()
        self.exhibit = Exhibit(
            title="anerf: block",
            name="new, step 200",
            uri=uri,
            model=self.model,
            surroundings=Surroundings.nothing("The scene is not here."),
            quality=Quality(SAMPLES, WIDTH_PX),
            shelf=self.shelf,
            out=out,
            end=self.ended.set,
            before="old, step 100",
        )
        self.viewer = SceneViewer(self.exhibit, "127.0.0.1", 0)
        self.frame = ViewFrame(self.model.origin, self.model.scale)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.viewer.stop()


@pytest.fixture
def look(house: House) -> Iterator[Callable[[], WireClient]]:
    """Opens browsers, which stand at `POSE`."""
    opened: list[WireClient] = []

    def open_one() -> WireClient:
        client = WireClient(house.viewer.url)
        opened.append(client)
        client.stand(house.frame, POSE, FOV_Y_DEG)
        return client

    yield open_one
    for client in opened:
        client.close()


def seen(model: SceneModel, pose: np.ndarray = POSE, **how) -> Picture:
    """A picture rendered in this process, from the pose as it is after its way through the browser."""
    frame = ViewFrame(model.origin, model.scale)
    camera = Camera.from_fov(WIDTH_PX, round(WIDTH_PX * 3 / 4), FOV_Y_DEG)
    c2w = frame.to_enu(*frame.from_enu(pose))
    return render_picture(model, camera, c2w, samples=SAMPLES, flight="nach", **how)


def rendered(model: SceneModel, pose: np.ndarray = POSE, **how) -> np.ndarray:
    return to_uint8(seen(model, pose, **how).rgb)


def worst(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


def shows(client: WireClient, picture: np.ndarray) -> None:
    """Waits until the browser shows this picture, and as one that stays."""

    def is_there() -> bool:
        _, last, kind = client.pictures[-1]
        return kind == "png" and last.shape == picture.shape and worst(last, picture) <= 1

    client.wait(is_there)


def test_a_picture_at_rest_is_the_one_that_is_rendered_in_process(house: House, look) -> None:
    picture = look().next_final()
    assert worst(picture, rendered(house.model)) <= 1


def test_coarse_pictures_come_first_and_at_once(look, monkeypatch) -> None:
    is_here = threading.Event()

    def draw_fine_later(
        shown: Shown, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]
    ) -> Drawing:
        # viser drops a picture that it has not sent when another one comes.
        while not (is_coarse or is_here.wait(0.01) or should_stop()):
            pass
        return draw(shown, view, width_px, is_coarse, should_stop)

    monkeypatch.setattr("anerf.viewer.client.draw", draw_fine_later)
    client = look()
    client.wait(lambda: bool(client.pictures))
    _, first, kind = client.pictures[0]
    assert kind == "jpeg"
    assert first.shape[1] < WIDTH_PX
    is_here.set()
    assert client.next_final().shape[1] == WIDTH_PX


def test_of_two_choices_at_once_the_later_one_has_the_last_word(look, monkeypatch) -> None:
    client = look()
    client.next_final()
    want, wanted, has_looked = LatestWinsWorker.want, [], threading.Event()

    def slow_at_first(*what: Any) -> View:
        if not has_looked.is_set():
            has_looked.set()
            time.sleep(0.5)  # by then the other has overtaken it, or waits for it
        return View(*what)

    def want_and_note(worker: LatestWinsWorker, view: View) -> None:
        want(worker, view)
        wanted.append(view.choices.appearance.layer)

    monkeypatch.setattr("anerf.viewer.client.View", slow_at_first)
    monkeypatch.setattr(LatestWinsWorker, "want", want_and_note)
    client.set("Layer", "depth")
    assert has_looked.wait(PATIENCE_S)
    client.set("Layer", "opacity")
    wait_for(lambda: len(wanted) == 2)
    assert wanted == ["depth", "opacity"]


def test_two_browsers_do_not_disturb_each_other(house: House, look) -> None:
    one, other = look(), look()
    one.next_final()
    other.next_final()
    n_seen = len(other.pictures)
    one.set("Experts", "expert 1")
    assert worst(one.next_final(), rendered(house.model, only_expert=1)) <= 1
    elsewhere = look_at((-30.0, -30.0, 50.0), (0.0, 0.0, 0.0))
    one.stand(house.frame, elsewhere, FOV_Y_DEG)
    assert worst(one.next_final(), rendered(house.model, elsewhere, only_expert=1)) <= 1
    assert len(other.pictures) == n_seen
    assert worst(other.pictures[-1][1], rendered(house.model)) <= 1
    wait_for(lambda: house.viewer.n_clients == 2)  # those of earlier tests take a moment to leave


def test_layers_are_those_of_the_products_and_have_legends(house: House, look) -> None:
    client = look()
    client.next_final()
    client.set("Layer", "experts")
    assert worst(client.next_final(), layer_picture(seen(house.model), "expert")) <= 1
    client.set("Layer", "depth")
    assert worst(client.next_final(), layer_picture(seen(house.model), "depth")) <= 1
    client.wait(lambda: "Depth along the ray" in str(client.of_type("GuiUpdate")))
    assert " m<" in str([m for m in client.of_type("GuiUpdate") if "Depth along" in str(m)][-1])


def test_before_after_and_both(house: House, look) -> None:
    client = look()
    after = client.next_final()
    before = rendered(house.shelf.get("old, step 100", house.model))
    client.set("Show", "before")
    assert worst(client.next_final(), before) <= 1
    client.set("Show", "wipe")
    wiped = client.next_final()
    assert worst(wiped[:, :90], before[:, :90]) <= 1
    assert worst(wiped[:, 100:], after[:, 100:]) <= 1
    client.set("Show", "difference")
    assert client.next_final()[..., 0].std() > 1
    client.wait(lambda: "Change of colour" in str(client.of_type("GuiUpdate")))


def test_what_cannot_be_is_told_to_who_asked_for_it(look) -> None:
    one, other = look(), look()
    one.next_final()
    other.next_final()
    one.set("Fly to", "nowhere")
    one.set("There", "Look at it")
    one.wait(lambda: "is no place" in str(one.of_type("Notification")))
    one.set("Name", "../../etc/cron")
    one.set("File", "save")
    one.wait(lambda: "cannot name a path" in str(one.of_type("Notification")))
    assert other.of_type("Notification") == []


def test_what_the_disk_does_not_take_is_told(house: House, look) -> None:
    (house.exhibit.out / "paths").touch()  # where the folder should be
    client = look()
    client.next_final()
    for known in ("1 view,", "2 views,"):
        client.press("Add this view")
        client.wait(lambda known=known: known in str(client.of_type("GuiUpdate")))
    client.set("Name", "round")
    client.set("File", "save")
    client.wait(
        lambda: "paths cannot be read or written (File exists)" in str(client.of_type("Notification"))
    )


def test_a_click_tells_the_place_on_earth(house: House, look) -> None:
    client = look()
    client.next_final()
    eye = house.frame.point(POSE[:, 3])
    client.send(
        "ScenePointerMessage",
        event_type="click",
        ray_origin=eye.tolist(),
        ray_direction=(-POSE[:, 2]).tolist(),
        screen_pos=[[0.5, 0.5]],
        modifier=None,
    )
    client.wait(lambda: "**Clicked:**" in str(client.of_type("GuiUpdate")))


def test_a_screenshot_is_the_picture_at_rest(house: House, look) -> None:
    client = look()
    client.next_final()
    client.press("Screenshot")
    client.wait(lambda: bool(client.of_type("FileTransferPart")))
    data = b"".join(part["content"] for part in client.of_type("FileTransferPart"))
    assert worst(np.asarray(Image.open(io.BytesIO(data))), rendered(house.model)) <= 1


def test_the_end_asks_back(house: House, look) -> None:
    client = look()
    client.next_final()
    client.press("End the viewer")
    client.wait(lambda: bool(client.of_type("GuiModal")))
    assert not house.ended.is_set()
    client.wait(lambda: "Keep it open" in str(client.of_type("GuiButton")))
    client.press("End it")
    assert house.ended.wait(PATIENCE_S)

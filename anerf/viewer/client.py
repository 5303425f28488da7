"""One browser: its panels, its camera, its worker."""

import io
import logging
import threading
from collections.abc import Callable
from datetime import datetime

import numpy as np
import viser
from PIL import Image

from anerf.errors import AnerfError
from anerf.geometry.boxes import Aabb
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from anerf.scene.decode import decode_frame
from anerf.scene.frames import Frame
from anerf.viewer.camera import ViewFrame
from anerf.viewer.camera_man import CameraMan
from anerf.viewer.choices import Choices, View
from anerf.viewer.drawing import Drawing, Shown, draw
from anerf.viewer.navigation import from_above, overview, parse_place
from anerf.viewer.panels.experts import ExpertsPanel
from anerf.viewer.panels.layers import LayersPanel
from anerf.viewer.panels.measure import MeasurePanel
from anerf.viewer.panels.navigation import Arrival, Move, NavigationPanel
from anerf.viewer.panels.photographs import PhotographsPanel
from anerf.viewer.panels.quality import QualityPanel
from anerf.viewer.panels.scene_parts import ScenePartsPanel
from anerf.viewer.panels.session import SessionPanel
from anerf.viewer.panels.times import TimesPanel
from anerf.viewer.picking import place_words, surface_along
from anerf.viewer.scene_nodes import SceneNodes
from anerf.viewer.settings import FOV_Y_DEG, Exhibit
from anerf.viewer.worker import LatestWinsWorker

SHOT_TIMEOUT_S = 120.0
_PHOTOGRAPH_PX = 320
_SKY_M = 1000.0
_log = logging.getLogger(__name__)


class Client:
    """One browser's view of an exhibit; nothing of it is shared with another browser."""

    def __init__(self, handle: viser.ClientHandle, exhibit: Exhibit, frame: ViewFrame) -> None:
        self._handle, self._exhibit, self._frame = handle, exhibit, frame
        self._shown = Shown(exhibit.model)
        self._names_lock = threading.Lock()
        self._camera = CameraMan(handle, frame)
        self._build(handle.gui)
        model = exhibit.model
        boxes = [_in_metres(expert.box, frame) for expert in model.models]
        self._nodes = SceneNodes(
            handle.scene,
            frame,
            model.aabb,
            boxes,
            model.partition_centroids,
            exhibit.surroundings,
            self._photographs.choose,
        )
        self._worker: LatestWinsWorker[View, Drawing] = LatestWinsWorker(
            self._draw, self._show, self._tell, lambda view: view.choices.quality.width_px
        )
        self._connect()
        handle.camera.on_update(lambda _: self.refresh())
        self.refresh()
        if self._times.before is not None:
            self._try(self._choose_checkpoints)

    def stop(self) -> None:
        """End the worker; the browser has gone or is to go."""
        self._worker.stop()

    def refresh(self) -> None:
        """Show what is wanted now."""
        self._worker.want(self._view())

    def _build(self, gui: viser.GuiApi) -> None:
        exhibit = self._exhibit
        model = exhibit.model
        gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=True)
        gui.set_panel_label(exhibit.title)
        tabs = gui.add_tab_group()
        with tabs.add_tab("View"):
            self._layers = LayersPanel(gui, _farthest_m(model.aabb))
            self._experts = ExpertsPanel(gui, model.experts, model.flights)
            self._parts = ScenePartsPanel(gui, exhibit.surroundings)
            self._quality = QualityPanel(gui, exhibit.quality)
            self._session = SessionPanel(gui)
        with tabs.add_tab("Places"):
            self._navigation = NavigationPanel(gui)
            with gui.add_folder("Place and distance"):
                self._measure = MeasurePanel(gui, self._handle.scene, self._frame, model.reference)
            with gui.add_folder("Photographs"):
                self._photographs = PhotographsPanel(gui, exhibit.surroundings, model.reference)
        with tabs.add_tab("Time"):
            self._times = TimesPanel(gui, exhibit.name, exhibit.shelf.names(), exhibit.before)

    def _connect(self) -> None:
        for panel in (self._layers, self._experts, self._quality, self._times):
            panel.on_change(self.refresh)
        self._parts.on_part(self._nodes.show)
        self._navigation.on_move(self._go)
        self._navigation.on_place(lambda text, arrival: self._try(lambda: self._fly_to(text, arrival)))
        self._measure.on_click(lambda event: self._try(lambda: self._pick(event)))
        self._photographs.on_fly(lambda frame: self._try(lambda: self._visit(frame)))
        self._times.on_checkpoint(lambda: self._try(self._choose_checkpoints))
        self._times.on_again(lambda: self._times.offer(self._exhibit.shelf.names()))
        self._session.on_shot(lambda: self._try(self._shoot))
        self._session.on_end(self._exhibit.end)

    def _view(self) -> View:
        choices = Choices(
            appearance=self._layers.appearance,
            expert=self._experts.expert,
            flight=self._experts.flight,
            quality=self._quality.quality,
            times=self._times.times,
        )
        return View(self._camera.c2w, self._camera.fov_y_deg, self._camera.aspect, choices)

    def _draw(self, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> Drawing:
        return draw(self._shown, view, width_px, is_coarse, should_stop)

    def _show(self, view: View, drawing: Drawing, width_px: int, seconds: float) -> None:
        is_final = width_px >= view.choices.quality.width_px
        # What stays is shown without loss; what moves comes quickly.
        self._handle.scene.set_background_image(
            drawing.colors, format="png" if is_final else "jpeg", jpeg_quality=80
        )
        self._layers.show(drawing.legend)
        self._quality.say(f"{width_px} x {len(drawing.colors)} pixels in {1000 * seconds:.0f} ms")
        self._navigation.say(f"Camera at {place_words(view.c2w[:, 3], self._exhibit.model.reference)}")

    def _tell(self, text: str) -> None:
        _log.warning("a client's request failed: %s", text)
        self._handle.add_notification("This did not work", text, color="red", auto_close_seconds=20.0)

    def _try(self, act: Callable[[], None]) -> None:
        """Do what a person asked for; what is wrong with it is told to that person."""
        try:
            act()
        except AnerfError as error:
            self._tell(str(error))

    def _go(self, move: Move) -> None:
        box, stance = self._exhibit.model.aabb, self._camera.stance
        match move:
            case "Overview":
                to = overview(box, FOV_Y_DEG)
            case "From above":
                to = from_above(box, FOV_Y_DEG)
            case "Straight down":
                to = stance.straight_down()
            case "North up":
                to = stance.north_up()
            case "Look at centre":
                to = stance.at_center(box)
        self._camera.fly(to)

    def _fly_to(self, text: str, arrival: Arrival) -> None:
        model = self._exhibit.model
        place, has_height = parse_place(text, model.reference)
        stance = self._camera.stance
        if arrival == "Stand there":
            if not has_height:
                place[2] = stance.eye[2]
            self._camera.fly(stance.standing_at(place))
            return
        if not has_height:
            sky = np.array([place[0], place[1], model.aabb.hi[2] + _SKY_M])
            ground = surface_along(model, sky, np.array([0.0, 0.0, -1.0]), self._view().choices)
            place[2] = model.aabb.lo[2] if ground is None else ground[2]
        self._camera.fly(stance.moved_to(place, 0.75 * max(model.aabb.size)))

    def _pick(self, event: viser.SceneClickEvent) -> None:
        eye = np.asarray(event.ray_origin) * self._frame.scale + np.array(self._frame.origin)
        choices = self._view().choices
        shown = self._shown
        is_before = choices.times.mode == "before" or (
            choices.times.mode == "wipe" and event.screen_pos[0] < choices.times.share
        )
        model = shown.before if is_before and shown.before is not None else shown.after
        self._measure.take(surface_along(model, eye, np.asarray(event.ray_direction), choices))

    def _visit(self, frame: Frame) -> None:
        scene = self._exhibit.surroundings.scene
        assert scene is not None
        fov_y = 2 * np.degrees(np.arctan(frame.camera.height / 2 / frame.camera.fy))
        self._camera.take_pose(frame.c2w, max(self._exhibit.model.aabb.size) / 2, float(fov_y))
        downscale = min(1.0, _PHOTOGRAPH_PX / frame.camera.width)
        photograph, _ = decode_frame(scene, frame, downscale)
        model = self._shown.after
        flight = frame.split if frame.split in model.flights else None
        picture = render_picture(
            model,
            frame.camera.scaled(downscale),
            frame.c2w,
            samples=self._quality.quality.samples,
            flight=flight,
        )
        error = float(np.mean((picture.rgb - photograph / 255.0) ** 2))
        render = np.rint(picture.rgb * 255).astype(np.uint8)
        self._photographs.show(frame, photograph, render, -10 * np.log10(max(error, 1e-10)))

    def _choose_checkpoints(self) -> None:
        exhibit = self._exhibit
        with self._names_lock:
            before, after = self._times.before, self._times.after
            self._shown = Shown(self._named(after), None if before is None else self._named(before))
        self._experts.offer(self._shown.after.flights)
        if before is None and self._times.times.mode != "after":
            self._handle.add_notification(
                "Nothing to compare with", "Choose a checkpoint under Before.", auto_close_seconds=10.0
            )
        _log.info("a client looks at %s and %s of %s", before, after, exhibit.name)
        self.refresh()

    def _named(self, name: str) -> SceneModel:
        exhibit = self._exhibit
        return exhibit.model if name == exhibit.name else exhibit.shelf.get(name, exhibit.model)

    def _shoot(self) -> None:
        """Render the view as it rests, and let the browser keep it."""
        view = self._view()
        drawing = draw(self._shown, view, view.choices.quality.width_px, False, lambda: False)
        buffer = io.BytesIO()
        Image.fromarray(drawing.colors).save(buffer, "PNG")
        name = f"{self._exhibit.model.scene_name}-{datetime.now():%Y%m%d-%H%M%S}.png"
        self._handle.send_file_download(name, buffer.getvalue(), save_immediately=True)
        self._handle.add_notification("Screenshot", f"{name} is downloaded.", auto_close_seconds=5.0)


def _farthest_m(box: Aabb) -> float:
    """From any view that people take of a box to its farther side."""
    return 3.0 * float(np.linalg.norm(box.size))


def _in_metres(box: Aabb, frame: ViewFrame) -> Aabb:
    lo, hi = (np.array(corner) * frame.scale + np.array(frame.origin) for corner in (box.lo, box.hi))
    return Aabb.of_points(np.array([lo, hi]))

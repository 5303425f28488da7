"""One browser's way through the scene: moves, coordinates, clicks and photographs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser

from anerf.products.colormap import to_uint8
from anerf.render.picture import render_picture
from anerf.scene.decode import decode_frame
from anerf.scene.frames import Frame
from anerf.viewer.camera import ViewFrame
from anerf.viewer.camera_man import CameraMan
from anerf.viewer.choices import View
from anerf.viewer.drawing import Shown
from anerf.viewer.navigation import from_above, overview, parse_place
from anerf.viewer.panels.measure import MeasurePanel
from anerf.viewer.panels.navigation import Arrival, Move, NavigationPanel
from anerf.viewer.panels.photographs import PhotographsPanel
from anerf.viewer.picking import place_words, surface_along
from anerf.viewer.settings import FOV_Y_DEG, Exhibit

_PHOTOGRAPH_PX = 320
_SKY_M = 1000.0


@dataclass(frozen=True)
class PlacesHost:
    """What moves need of their browser: what it shows, and whom to tell what went wrong."""

    attempt: Callable[[Callable[[], None]], None]
    view: Callable[[], View]
    shown: Callable[[], Shown]


class Places:
    """The `Places` panels, acting on the browser's camera."""

    def __init__(
        self,
        gui: viser.GuiApi,
        scene: viser.SceneApi,
        frame: ViewFrame,
        camera: CameraMan,
        exhibit: Exhibit,
        host: PlacesHost,
    ) -> None:
        self._frame, self._camera, self._exhibit, self._host = frame, camera, exhibit, host
        reference = exhibit.model.reference
        self._navigation = NavigationPanel(gui)
        with gui.add_folder("Place and distance"):
            self._measure = MeasurePanel(gui, scene, frame, reference)
        with gui.add_folder("Photographs"):
            self._photographs = PhotographsPanel(gui, exhibit.surroundings, reference)
        self._navigation.on_move(self._go)
        self._navigation.on_place(lambda text, arrival: host.attempt(lambda: self._fly_to(text, arrival)))
        self._measure.on_click(lambda event: host.attempt(lambda: self._pick(event)))
        self._photographs.on_fly(lambda taken: host.attempt(lambda: self._visit(taken)))

    def choose(self, frame: Frame) -> None:
        """A photograph's camera was clicked: fly there."""
        self._photographs.choose(frame)

    def say(self, view: View) -> None:
        """Show where the camera of a view is."""
        self._navigation.say(f"Camera: {place_words(view.c2w[:, 3], self._exhibit.model.reference)}")

    def _go(self, move: Move) -> None:
        box, stance = self._exhibit.model.aabb, self._camera.stance
        match move:
            case "Overview":
                self._camera.zoom(FOV_Y_DEG)
                to = overview(box, self._camera.least_fov_deg)
            case "From above":
                self._camera.zoom(FOV_Y_DEG)
                to = from_above(box, self._camera.least_fov_deg)
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
            down = np.array([0.0, 0.0, -1.0])
            ground = surface_along(self._host.shown().after, sky, down, self._host.view().choices)
            place[2] = model.aabb.lo[2] if ground is None else ground[2]
        self._camera.fly(stance.moved_to(place, 0.75 * max(model.aabb.size)))

    def _pick(self, event: viser.SceneClickEvent) -> None:
        eye = np.asarray(event.ray_origin) * self._frame.scale + np.array(self._frame.origin)
        choices, shown = self._host.view().choices, self._host.shown()
        times = choices.times
        is_before = times.mode == "before" or (times.mode == "wipe" and event.screen_pos[0] < times.share)
        model = shown.before if is_before and shown.before is not None else shown.after
        self._measure.take(surface_along(model, eye, np.asarray(event.ray_direction), choices))

    def _visit(self, frame: Frame) -> None:
        scene, choices = self._exhibit.surroundings.scene, self._host.view().choices
        assert scene is not None
        fov_y_deg = 2 * np.degrees(np.arctan(frame.camera.height / 2 / frame.camera.fy))
        self._camera.take_pose(frame.c2w, max(self._exhibit.model.aabb.size) / 2, float(fov_y_deg))
        downscale = min(1.0, _PHOTOGRAPH_PX / frame.camera.width)
        photograph, _ = decode_frame(scene, frame, downscale)
        model = self._host.shown().after
        picture = render_picture(
            model,
            frame.camera.scaled(downscale),
            frame.c2w,
            samples=choices.quality.samples,
            flight=frame.split if frame.split in model.flights else None,
        )
        error = float(np.mean((picture.rgb - photograph / 255.0) ** 2))
        self._photographs.show(frame, photograph, to_uint8(picture.rgb), -10 * np.log10(max(error, 1e-10)))

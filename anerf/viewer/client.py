"""One browser: its panels, its camera, its worker."""

import io
import logging
import threading
from collections.abc import Callable
from datetime import datetime

import numpy as np
import viser
from PIL import Image

from anerf.checkpoint.manifest import read_manifest
from anerf.errors import AnerfError
from anerf.geometry.boxes import Aabb
from anerf.viewer.camera import ViewFrame
from anerf.viewer.camera_man import CameraMan
from anerf.viewer.choices import Choices, View
from anerf.viewer.comparison import Comparison
from anerf.viewer.drawing import Drawing, draw
from anerf.viewer.feed import LiveFeed
from anerf.viewer.live import JobNews
from anerf.viewer.live_view import LiveHost, LiveView
from anerf.viewer.navigation import overview
from anerf.viewer.panels.experts import ExpertsPanel
from anerf.viewer.panels.layers import LayersPanel
from anerf.viewer.panels.quality import QualityPanel
from anerf.viewer.panels.scene_parts import ScenePartsPanel
from anerf.viewer.panels.session import SessionPanel
from anerf.viewer.path_editor import PathEditor, PathHost
from anerf.viewer.places import Places, PlacesHost
from anerf.viewer.scene_nodes import SceneNodes
from anerf.viewer.settings import Exhibit
from anerf.viewer.worker import LatestWinsWorker

_log = logging.getLogger(__name__)


class Client:
    """One browser's view of an exhibit; nothing of it is shared with another browser, except running jobs."""

    def __init__(
        self, handle: viser.ClientHandle, exhibit: Exhibit, frame: ViewFrame, feed: LiveFeed | None
    ) -> None:
        self._handle, self._exhibit, self._frame = handle, exhibit, frame
        self._camera = CameraMan(handle, frame)
        self._live: LiveView | None = None
        self._worker: LatestWinsWorker[View, Drawing] = LatestWinsWorker(
            self._draw, self._show, self._warn, lambda view: view.full_width_px
        )
        self._refreshing = threading.Lock()
        model = exhibit.model
        boxes = [_in_metres(expert.box, frame) for expert in model.models]
        with handle.atomic():  # the browser gets no control before its choices are heard
            self._build(handle.gui, feed)
            self._nodes = SceneNodes(
                handle.scene,
                frame,
                model.aabb,
                boxes,
                model.partition_centroids,
                exhibit.surroundings,
                self._places.choose,
            )
            self._listen()
        handle.camera.on_update(lambda _: self.refresh())
        if self._camera.aspect < 1:
            self._camera.stand(overview(model.aabb, self._camera.least_fov_deg))
        self.refresh()

    def stop(self) -> None:
        """The browser has gone or is to go."""
        self._worker.stop()
        self._path.stop()
        if self._live is not None:
            self._live.leave()

    def refresh(self) -> None:
        """Show what is wanted now."""
        with self._refreshing:  # else an earlier look at the controls could come to be the last word
            self._worker.want(self._view())

    def _build(self, gui: viser.GuiApi, feed: LiveFeed | None) -> None:
        exhibit, handle = self._exhibit, self._handle
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
            host = PlacesHost(self._attempt, self._view, lambda: self._comparison.shown)
            self._places = Places(gui, handle.scene, self._frame, self._camera, exhibit, host)
        with tabs.add_tab("Time"):
            self._comparison = Comparison(gui, exhibit, self._other_models)
        with tabs.add_tab("Path"):
            host = PathHost(
                self._attempt,
                self._say,
                lambda: self._comparison.checkpoint_uri,
                lambda: self._quality.quality.samples,
                self._flight_of,
            )
            self._path = PathEditor(
                gui, handle.scene, self._frame, self._camera, exhibit, feed, handle.client_id, host
            )
        if feed is not None:
            with tabs.add_tab("Live"):
                host = LiveHost(
                    self._attempt,
                    lambda: self._comparison.checkpoint_uri,
                    self._comparison.watch,
                    self._comparison.see,
                    self._comparison.look_away,
                    self._over,
                )
                self._live = LiveView(gui, feed, handle.client_id, exhibit.surroundings, host)

    def _listen(self) -> None:
        for panel in (self._layers, self._experts, self._quality, self._comparison.panel):
            panel.on_change(self.refresh)
        self._parts.on_part(self._nodes.show)
        self._comparison.panel.on_checkpoint(lambda: self._attempt(self._choose))
        self._comparison.panel.on_again(lambda: self._attempt(self._comparison.look_for_checkpoints))
        self._session.on_shot(lambda: self._attempt(self._shoot))
        self._session.on_end(self._exhibit.end)

    def _view(self) -> View:
        choices = Choices(
            appearance=self._layers.appearance,
            expert=self._experts.expert,
            flight=self._experts.flight,
            quality=self._quality.quality,
            times=self._comparison.panel.times,
        )
        return View(self._camera.c2w, self._camera.fov_y_deg, self._camera.aspect, choices)

    def _draw(self, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> Drawing:
        return draw(self._comparison.shown, view, width_px, is_coarse, should_stop)

    def _show(self, view: View, drawing: Drawing, width_px: int, seconds: float) -> None:
        # What stays is shown without loss; what moves comes quickly.
        self._handle.scene.set_background_image(
            drawing.colors, format="png" if drawing.is_final else "jpeg", jpeg_quality=80
        )
        self._layers.show(drawing.legend)
        self._quality.say(f"{width_px} x {len(drawing.colors)} pixels in {1000 * seconds:.0f} ms")
        self._places.say(view)

    def _choose(self) -> None:
        if self._live is not None and self._comparison.misses_scene:
            self._live.look_again()
        self._comparison.choose()

    def _flight_of(self, checkpoint_uri: str) -> str | None:
        """The look that is shown, if this checkpoint knows it: it need be neither ours nor the shown one."""
        flight = self._experts.flight
        return flight if flight in read_manifest(checkpoint_uri).flights else None

    def _other_models(self) -> None:
        shown = self._comparison.shown
        after, before = shown.after, shown.before
        # An expert that one of them lacks cannot be compared.
        experts = min((model.experts for model in (after, before) if model is not None), key=len)
        self._experts.offer(experts, after.flights)
        self.refresh()

    def _over(self, news: JobNews) -> None:
        color = "green" if news.state == "SUCCEEDED" else "orange"
        title = f"{news.job_id}: {news.state.lower()}"
        self._handle.add_notification(title, news.message, color=color, auto_close_seconds=20.0)
        self._attempt(self._comparison.look_away)

    def _say(self, title: str, text: str) -> None:
        self._handle.add_notification(title, text, auto_close_seconds=8.0)

    def _warn(self, text: str) -> None:
        _log.warning("a client's request failed: %s", text)
        self._handle.add_notification("This did not work", text, color="red", auto_close_seconds=20.0)

    def _attempt(self, act: Callable[[], None]) -> None:
        """Do what a person asked for; what is wrong with it is told to that person."""
        try:
            act()
        except AnerfError as error:
            self._warn(str(error))
        except OSError as error:
            place, why = error.filename or "A file", error.strerror or error
            self._warn(f"{place} cannot be read or written ({why}): see to its disk and its rights.")

    def _shoot(self) -> None:
        """Render the view as it rests, and let the browser keep it."""
        view = self._view()
        drawing = self._draw(view, view.full_width_px, False, lambda: False)
        buffer = io.BytesIO()
        Image.fromarray(drawing.colors).save(buffer, "PNG")
        name = f"{self._exhibit.model.scene_name}-{datetime.now():%Y%m%d-%H%M%S}.png"
        self._handle.send_file_download(name, buffer.getvalue(), save_immediately=True)
        self._say("Screenshot", f"{name} is downloaded.")


def _farthest_m(box: Aabb) -> float:
    """From any view that people take of a box to its farther side."""
    return 3.0 * float(np.linalg.norm(box.size))


def _in_metres(box: Aabb, frame: ViewFrame) -> Aabb:
    lo, hi = (np.array(corner) * frame.scale + np.array(frame.origin) for corner in (box.lo, box.hi))
    return Aabb.of_points(np.array([lo, hi]))

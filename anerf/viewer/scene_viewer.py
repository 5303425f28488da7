"""The viewer: a scene in the browser, orbited with the mouse, one render worker a client."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser
from jaxtyping import Float

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import enu_to_geodetic
from anerf.products.colormap import depth_range_m
from anerf.products.layers import layer_picture
from anerf.render.picture import Picture, render_picture
from anerf.render.scene_model import SceneModel
from anerf.viewer.camera import ViewFrame, map_pose, oblique_pose
from anerf.viewer.panel import Choices, Panel
from anerf.viewer.scene_nodes import SceneNodes
from anerf.viewer.surroundings import Surroundings
from anerf.viewer.worker import LatestWinsWorker

FOV_Y_DEG = 60.0
COARSE_SAMPLES = 8
_SEEN_AS_PHONE_ASPECT, _SEEN_AS_WALL_ASPECT = 0.3, 4.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """What one client wants to see."""

    c2w: Float[np.ndarray, "3 4"]
    fov_y_deg: float
    aspect: float
    choices: Choices

    def camera(self, width_px: int) -> Camera:
        """The lens for a picture `width_px` wide."""
        return Camera.from_fov(width_px, max(1, round(width_px / self.aspect)), self.fov_y_deg)


class SceneViewer:
    """Serves `model` at `host`:`port` until `stop`; a taken port gives way to the next free one.

    `surroundings` are what can be shown over the picture beside the experts' boxes.
    """

    def __init__(
        self, model: SceneModel, title: str, host: str, port: int, samples: int, surroundings: Surroundings
    ) -> None:
        self._model, self._title, self._samples = model, title, samples
        self._surroundings = surroundings
        self._frame = ViewFrame(model.origin, model.scale)
        self._clients: dict[int, _Client] = {}
        self._server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        self._server.scene.set_up_direction("+z")
        start = oblique_pose(model.aabb, FOV_Y_DEG)
        self._server.initial_camera.fov = math.radians(FOV_Y_DEG)
        self._server.initial_camera.position = _triple(self._frame.point(start[:, 3]))
        self._server.initial_camera.look_at = _triple(self._frame.point(model.aabb.center))
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._leave)
        self.url = f"http://{_in_url(host)}:{self._server.get_port()}"

    @property
    def n_clients(self) -> int:
        """How many browsers are connected."""
        return len(self._clients)

    def stop(self) -> None:
        """Disconnect everybody and free the port."""
        for client in list(self._clients.values()):
            client.stop()
        self._server.stop()

    def _welcome(self, handle: viser.ClientHandle) -> None:
        self._clients[handle.client_id] = _Client(
            handle, self._model, self._frame, self._title, self._samples, self._surroundings
        )

    def _leave(self, handle: viser.ClientHandle) -> None:
        client = self._clients.pop(handle.client_id, None)
        if client is not None:
            client.stop()


class _Client:
    """One browser: its panel, its camera, its worker."""

    def __init__(
        self,
        handle: viser.ClientHandle,
        model: SceneModel,
        frame: ViewFrame,
        title: str,
        samples: int,
        surroundings: Surroundings,
    ) -> None:
        self._handle, self._model, self._frame = handle, model, frame
        self._panel = Panel(handle.gui, title, model.experts, model.flights, samples, surroundings)
        boxes = [self._in_metres(expert.box) for expert in model.models]
        self._nodes = SceneNodes(
            handle.scene, frame, model.aabb, boxes, model.partition_centroids, surroundings
        )
        self._worker: LatestWinsWorker[View, Picture] = LatestWinsWorker(
            self._render, self._show, self._tell, lambda view: view.choices.width_px
        )
        self._panel.on_change(self._want)
        self._panel.on_part(self._nodes.show)
        self._panel.on_look(self._look)
        handle.camera.on_update(lambda _: self._want())
        self._want()

    def stop(self) -> None:
        self._worker.stop()

    def _want(self) -> None:
        camera = self._handle.camera
        self._worker.want(
            View(
                c2w=self._frame.to_enu(camera.wxyz, camera.position),
                fov_y_deg=math.degrees(camera.fov),
                aspect=min(max(camera.aspect, _SEEN_AS_PHONE_ASPECT), _SEEN_AS_WALL_ASPECT),
                choices=self._panel.choices,
            )
        )

    def _render(self, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]) -> Picture:
        wanted = view.choices
        return render_picture(
            self._model,
            view.camera(width_px),
            view.c2w,
            samples=min(wanted.samples, COARSE_SAMPLES) if is_coarse else wanted.samples,
            flight=wanted.flight,
            only_expert=wanted.expert,
            should_stop=should_stop,
        )

    def _show(self, view: View, picture: Picture, width_px: int, seconds: float) -> None:
        layer = view.choices.layer
        range_m = depth_range_m(picture.depth_m, picture.opacity) if layer == "depth" else None
        colors = layer_picture(picture, layer, range_m)
        self._handle.scene.set_background_image(colors, format="jpeg", jpeg_quality=85)
        latitude, longitude, height = enu_to_geodetic(view.c2w[None, :, 3], self._model.reference)[0]
        self._panel.say(
            f"{width_px} x {len(colors)} pixels in {seconds:.2f} s  \n"
            f"camera at {latitude:.6f}\u00b0, {longitude:.6f}\u00b0, {height:.1f} m",
            range_m,
        )

    def _tell(self, text: str) -> None:
        _log.warning("a client's picture failed: %s", text)
        self._handle.add_notification("No picture", text, color="red", auto_close_seconds=20.0)

    def _in_metres(self, box: Aabb) -> Aabb:
        lo, hi = (np.array(c) * self._frame.scale + np.array(self._frame.origin) for c in (box.lo, box.hi))
        return Aabb(_triple(lo), _triple(hi))

    def _look(self, which: str) -> None:
        box = self._model.aabb
        pose = oblique_pose(box, FOV_Y_DEG) if which == "oblique" else map_pose(box, FOV_Y_DEG)
        camera = self._handle.camera
        with self._handle.atomic():
            camera.up_direction = (0.0, 0.0, 1.0)
            camera.position = self._frame.point(pose[:, 3])
            camera.look_at = self._frame.point(box.center) if which == "oblique" else self._below(pose)

    def _below(self, pose: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3"]:
        """A point under the camera, a hair to the north, so that an upright camera has north at the top."""
        x, y, z = pose[:, 3]
        return self._frame.point((x, y + 1e-3 * (z - self._model.aabb.lo[2]), self._model.aabb.lo[2]))


def _triple(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _in_url(host: str) -> str:
    """`host` as a browser on this machine reaches it."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

"""The viewer: a scene in the browser, orbited with the mouse, one render worker a client."""

import math

import numpy as np
import viser
from jaxtyping import Float

from anerf.viewer.camera import ViewFrame
from anerf.viewer.client import Client
from anerf.viewer.feed import LiveFeed
from anerf.viewer.navigation import overview
from anerf.viewer.own_pages import OwnPages, keep_to
from anerf.viewer.settings import FOV_Y_DEG, Exhibit


class SceneViewer:
    """Serves an exhibit at `host`:`port` until `stop`; a taken port gives way to the next free one.

    Pages of other origins than its own, or than `public_url` behind a proxy, may not use it.
    """

    def __init__(self, exhibit: Exhibit, host: str, port: int, public_url: str | None = None) -> None:
        model = exhibit.model
        self._exhibit = exhibit
        self._frame = ViewFrame(model.origin, model.scale)
        self._feed = None if exhibit.jobs is None else LiveFeed(exhibit.jobs)
        self._clients: dict[int, Client] = {}
        self._server = viser.ViserServer(host=host, port=port, label=exhibit.title, verbose=False)
        keep_to(OwnPages(host, public_url), self._server)
        self._server.scene.set_up_direction("+z")
        start = overview(model.aabb, FOV_Y_DEG)
        self._server.initial_camera.fov = math.radians(FOV_Y_DEG)
        self._server.initial_camera.position = _triple(self._frame.point(start.eye))
        self._server.initial_camera.look_at = _triple(self._frame.point(start.target))
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
        self._clients[handle.client_id] = Client(handle, self._exhibit, self._frame, self._feed)
        if handle.client_id not in self._server.get_clients():  # it has left while its panels were built
            self._leave(handle)

    def _leave(self, handle: viser.ClientHandle) -> None:
        client = self._clients.pop(handle.client_id, None)
        if client is not None:
            client.stop()


def _triple(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _in_url(host: str) -> str:
    """`host` as a browser on this machine reaches it."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host

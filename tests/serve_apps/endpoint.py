"""The endpoint without Ray: renderers are a thread, and clients come from this machine."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from serve_apps.admission import Admission
from serve_apps.api import create_api
from serve_apps.frames import Frames
from serve_apps.renderers import RenderThread
from serve_apps.service import RenderService
from serve_apps.telling import EndpointMetrics

HERE = "http://127.0.0.1"


class Endpoint:
    def __init__(
        self,
        out_root: Path,
        service: RenderService | None = None,
        limit: int = 8,
        tile_pixels: int = 200_000,
        **rules: Any,
    ) -> None:
        self.service = service or RenderService()
        self.admission = Admission(limit)
        self.metrics = EndpointMetrics(self.admission)
        thread = RenderThread(self.service)
        self.frames = Frames(thread, out_root, self.admission, self.metrics.heard, tile_pixels)
        self.api = create_api(self.frames, self.metrics, **rules)

    def client(self, base_url: str = HERE) -> TestClient:
        return TestClient(self.api, base_url, raise_server_exceptions=False)

"""The endpoint's own metrics, for Prometheus at `GET /metrics`."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.admission import Admission
from serve_apps.parts import RendererState

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_OTHER = "other"
PICTURES = "/render"
_FORGET_S = 60.0


class EndpointMetrics:
    """Of one replica of the endpoint, and of the renderers that have lately worked for it.

    Args:
        tell_seconds: Hears how long each picture took, waiting for others included.
    """

    def __init__(self, admission: Admission, tell_seconds: Callable[[float], None] = lambda _: None) -> None:
        self._tell_seconds = tell_seconds
        self.registry = CollectorRegistry()
        queue = Gauge("anerf_http_queue", "Requests that are worked on or wait", registry=self.registry)
        queue.set_function(lambda: admission.inside)
        self._requests = Counter(
            "anerf_http_requests", "Answered requests", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "anerf_http_seconds", "From a request to the end of its answer", ("route",), buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        names = ("renderer",)
        self._gauges = {
            "size": Gauge(
                "anerf_expert_cache_bytes", "Experts' parameters in memory", names, registry=self.registry
            ),
            "n_values": Gauge(
                "anerf_expert_cache_experts", "Experts in memory", names, registry=self.registry
            ),
            "n_asked": Gauge(
                "anerf_expert_cache_asked", "Experts asked for since its start", names, registry=self.registry
            ),
            "n_loaded": Gauge(
                "anerf_expert_cache_loaded", "Experts loaded since its start", names, registry=self.registry
            ),
        }
        self._seen: dict[str, float] = {}

    def heard(self, state: RendererState) -> None:
        """A renderer has answered."""
        self._seen[state.name] = time.monotonic()
        for name, gauge in self._gauges.items():
            gauge.labels(state.name).set(getattr(state.cache, name))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if route == PICTURES and status == 200:
            self._tell_seconds(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format, without renderers that have been silent for a minute."""
        for name, seen in list(self._seen.items()):
            if time.monotonic() - seen > _FORGET_S:
                del self._seen[name]
                for gauge in self._gauges.values():
                    gauge.remove(name)
        return generate_latest(self.registry)


class Meter:
    """Counts and times requests by route."""

    def __init__(self, app: ASGIApp, metrics: EndpointMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = time.monotonic(), 499  # as who goes away before the answer

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500  # Starlette answers so, further out
            raise
        finally:
            # A path that is no route of ours is anybody's word, and would be a label without bound.
            route = getattr(scope.get("route"), "path", _OTHER)
            self._metrics.answered(route, status, time.monotonic() - start)
        return None

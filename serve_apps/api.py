"""The HTTP face of the render service: POST /render, GET /scenes, GET /healthz, OpenAPI at /docs."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from anerf.checkpoint.manifest import Manifest
from anerf.errors import AnerfError, InputError, JobCancelled
from serve_apps.answers import BodyLimit, Problem, answer_errors, problem
from serve_apps.confine import OutsideError
from serve_apps.requests import RenderRequest, problem_text

if TYPE_CHECKING:
    from serve_apps.service import RenderService

MAX_BODY_BYTES = 64 * 1024


class Place(BaseModel):
    """WGS 84; the height is above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    height_m: float


class SceneEntry(BaseModel):
    """A job with checkpoints. Boxes and centroids are ENU metres about `reference`."""

    checkpoint: str
    steps: list[int]
    scene: str | None = None
    reference: Place | None = None
    crs: str | None = None
    box: list[list[float]] | None = None
    flights: list[str] = []
    experts: int = 0
    metrics: dict[str, float] = {}
    problem: str | None = None


class Health(BaseModel):
    """`rendered` says what the check really rendered."""

    status: str
    rendered: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not JSON"},
    403: {"model": Problem, "description": "The checkpoint is outside the output folder"},
    404: {"model": Problem, "description": "No such checkpoint"},
    409: {"model": Problem, "description": "The checkpoint is damaged"},
    411: {"model": Problem, "description": "No Content-Length"},
    413: {"model": Problem, "description": "The body is too large"},
    422: {"model": Problem, "description": "A field is unknown, wrong or does not fit the scene"},
    503: {"model": Problem, "description": "The service cannot render now"},
    504: {"model": Problem, "description": "The picture took too long"},
}
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture",
        "content": {kind: {} for kind in ("image/png", "image/jpeg", "application/x-npy")},
    }
}


def _tell_nobody(_seconds: float) -> None:
    pass


def create_api(service: "RenderService", tell_seconds: Callable[[float], None] = _tell_nobody) -> FastAPI:
    """The web application that answers from `service`; one picture is computed at a time, off its loop.

    `tell_seconds` hears how long each picture took, waiting for others included.
    """
    from serve_apps.service import DamagedError, NotFoundError, TooSlowError

    api = FastAPI(title="anerf", version="1", summary="Pictures of learned scenes, from any pose")
    api.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    renderer = ThreadPoolExecutor(1, thread_name_prefix="render")
    statuses: dict[type[Exception], int] = {
        OutsideError: 403,
        NotFoundError: 404,
        DamagedError: 409,
        InputError: 422,
        JobCancelled: 503,
        TooSlowError: 504,
        AnerfError: 503,
    }
    answer_errors(api, statuses)
    api.add_exception_handler(RequestValidationError, _answer_invalid)

    @api.post("/render", response_class=Response, responses={**_PICTURES, **_PROBLEMS})
    async def render(body: RenderRequest) -> Response:
        """A picture of a checkpoint from any pose."""
        gone = threading.Event()
        asked = time.monotonic()
        try:
            seen = await asyncio.get_running_loop().run_in_executor(
                renderer, service.render, body, gone.is_set
            )
        finally:
            # A client that went away cancels this coroutine; the thread sees it at its next chunk of rays.
            gone.set()
        tell_seconds(time.monotonic() - asked)
        headers = {
            "X-Anerf-Scene": quote(seen.scene),
            "X-Anerf-Step": str(seen.step),
            "X-Anerf-Flight": quote(seen.flight),
            "X-Anerf-Render-Seconds": f"{seen.render_s:.3f}",
        }
        if seen.depth_range_m is not None:
            headers["X-Anerf-Depth-Range-M"] = "{:.3f},{:.3f}".format(*seen.depth_range_m)
        return Response(seen.data, media_type=seen.media_type, headers=headers)

    @api.get("/scenes")
    async def scenes() -> list[SceneEntry]:
        """What can be rendered: jobs with complete checkpoints, the newest first."""
        found = await asyncio.to_thread(service.manifests)
        return [_entry(job, steps, newest) for job, steps, newest in found]

    @api.get("/healthz", responses={503: _PROBLEMS[503]})
    async def healthz() -> Health:
        """Really loads and renders a few pixels of the newest checkpoint, where there is one."""
        service.check_alive()
        rendered = await asyncio.get_running_loop().run_in_executor(renderer, service.prove)
        return Health(status="ok", rendered=rendered)

    return api


def _entry(job: str, steps: list[int], newest: Manifest | str) -> SceneEntry:
    if isinstance(newest, str):
        return SceneEntry(checkpoint=job, steps=steps, problem=newest)
    latitude_deg, longitude_deg, height_m = newest.scene.reference
    return SceneEntry(
        checkpoint=job,
        steps=steps,
        scene=newest.scene.name,
        reference=Place(latitude_deg=latitude_deg, longitude_deg=longitude_deg, height_m=height_m),
        crs=newest.scene.crs,
        box=[list(corner) for corner in newest.scene.aabb],
        flights=list(newest.flights),
        experts=len(newest.shards),
        metrics=newest.metrics,
    )


async def _answer_invalid(_: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return problem(422, f"The request is not valid: {problem_text(errors)}.")

"""The HTTP face of the render endpoint: pictures, rays and places of learned scenes, OpenAPI at /docs."""

import io
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from jaxtyping import Float32
from pydantic import BaseModel

from anerf.errors import AnerfError, InputError, JobCancelled
from anerf.render.view import SeenRays
from serve_apps.admission import TooBusyError
from serve_apps.answers import Problem, answer_errors, problem
from serve_apps.catalog import CheckpointEntry, SceneEntry, checkpoint_entries, scene_entry
from serve_apps.confine import OutsideError
from serve_apps.door import guard
from serve_apps.frames import Frames, LateError
from serve_apps.parts import Shown
from serve_apps.requests import PickRequest, RaysQuery, RenderRequest, problem_text
from serve_apps.source import DamagedError, NotFoundError
from serve_apps.telling import EndpointMetrics, Meter

MAX_BODY_BYTES = 64 * 1024
MAX_RAYS = 1 << 19
MAX_RAYS_BYTES = MAX_RAYS * 32
ARROW_STREAM = "application/vnd.apache.arrow.stream"
_SCHEMA = pa.schema(
    [
        pa.field("rgb", pa.list_(pa.field("item", pa.float32(), nullable=False), 3), nullable=False),
        pa.field("depth_m", pa.float32(), nullable=False),
        pa.field("opacity", pa.float32(), nullable=False),
        pa.field("expert", pa.int16(), nullable=False),
    ]
)


class Place(BaseModel):
    """A place on a surface: WGS 84 (height above the ellipsoid), ENU metres about the scene's reference."""

    pixel: tuple[float, float]
    latitude_deg: float
    longitude_deg: float
    height_m: float
    enu_m: tuple[float, float, float]
    depth_m: float
    """Along the ray, where it has met half of what is opaque on it."""
    opacity: float
    expert: int


class Picked(BaseModel):
    """Places of the pixels, in their order; null for a pixel that shows no surface."""

    scene: str
    step: int
    flight: str
    mark: str | None = None
    """Of a running job: which version of its weights."""
    places: list[Place | None]


class Health(BaseModel):
    """`rendered` says what the check really rendered."""

    status: str
    rendered: str


class NoSurfaceError(AnerfError):
    """No pixel that was asked for shows a surface."""


_TOLD = {
    400: "The body is not JSON",
    401: "The token is missing or wrong",
    403: "The checkpoint is outside the output folder, or the caller is a stranger",
    404: "No such checkpoint, or no surface at the pixels",
    409: "The checkpoint is damaged",
    411: "No Content-Length",
    413: "The body is too large",
    422: "A field is unknown, wrong or does not fit the scene",
    429: "Too much to do: see the header Retry-After",
    503: "Nobody renders now: see the header Retry-After",
    504: "It was not ready at its deadline",
}
_STATUSES: dict[type[Exception], int] = {
    OutsideError: 403,
    NotFoundError: 404,
    NoSurfaceError: 404,
    DamagedError: 409,
    InputError: 422,
    TooBusyError: 429,
    JobCancelled: 503,
    LateError: 504,
    AnerfError: 503,
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": _TOLD[status]} for status in (401, 403, *statuses)}


_WORK = (400, 404, 409, 411, 413, 422, 429, 503, 504)
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "image/jpeg", "image/webp", "application/x-npy")
        },
        "headers": {
            name: {"description": told, "schema": {"type": "string"}}
            for name, told in {
                "X-Anerf-Scene": "The scene's name",
                "X-Anerf-Step": "Step of the weights",
                "X-Anerf-Flight": "Whose look is shown",
                "X-Anerf-Mark": "Of a running job: which version of its weights; no other has it",
                "X-Anerf-Render-Seconds": "Of all tiles together",
                "X-Anerf-Tiles": "Into how many the picture was divided",
                "X-Anerf-Experts": "How many could be seen, and were loaded",
                "X-Anerf-Depth-Range-M": "Of coloured depth: the nearest and farthest colour, in metres",
                "X-Anerf-Depth-Unit-M": "Of png16: metres of a count; 0 counts are nothing",
            }.items()
        },
    }
}
_RAYS = {
    "required": True,
    "description": "Rays one after the other, little-endian float32: origin (3, ENU metres about the scene's "
    "reference), unit direction (3); with `columns=8` also near and far in metres along the ray.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_BATCHES = {
    200: {
        "description": "Arrow record batches as they are ready: `rgb` (3 x float32, sRGB), `depth_m` and "
        "`opacity` (float32), `expert` (int16, -1 for none); a row for each ray.",
        "content": {ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def create_api(
    frames: Frames,
    metrics: EndpointMetrics,
    token: str | None = None,
    origins: tuple[str, ...] = (),
    check_alive: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The web application that answers from `frames`; who may use it is told by `token` and `origins`."""
    api = FastAPI(title="anerf", version="1", summary="Pictures of learned scenes, from any pose")
    answer_errors(api, _STATUSES)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    guard(api, token, origins, MAX_BODY_BYTES, {"/rays": MAX_RAYS_BYTES}, tuple(_PICTURES[200]["headers"]))
    api.add_middleware(Meter, metrics=metrics)

    @api.post("/render", response_class=Response, responses={**_PICTURES, **_problems(*_WORK)})
    async def render(body: RenderRequest) -> Response:
        """A picture of a checkpoint from any pose."""
        seen = await frames.picture(body)
        headers = {**_told(seen.shown), "X-Anerf-Render-Seconds": f"{seen.render_s:.3f}"}
        headers |= {"X-Anerf-Tiles": str(seen.tiles), "X-Anerf-Experts": str(seen.experts)}
        if seen.file.depth_range_m is not None:
            headers["X-Anerf-Depth-Range-M"] = "{:.3f},{:.3f}".format(*seen.file.depth_range_m)
        if seen.file.unit_m is not None:
            headers["X-Anerf-Depth-Unit-M"] = f"{seen.file.unit_m:g}"
        return Response(seen.file.data, media_type=seen.file.media_type, headers=headers)

    @api.post(
        "/rays",
        response_class=StreamingResponse,
        responses={**_BATCHES, **_problems(*_WORK)},
        openapi_extra={"requestBody": _RAYS},
    )
    async def rays(request: Request, query: Annotated[RaysQuery, Query()]) -> StreamingResponse:
        """What rays see: raw float32 in, Arrow record batches out."""

        async def read() -> Float32[np.ndarray, "n c"]:
            return _rays_of(await request.body(), query.columns)

        batches = frames.rays(query, read)
        # Until the first batch is there, what is wrong can still be told with a status.
        seen, shown = await anext(batches)
        return StreamingResponse(_arrow(seen, batches), media_type=ARROW_STREAM, headers=_told(shown))

    @api.post("/pick", responses=_problems(*_WORK))
    async def pick(body: PickRequest) -> Picked:
        """Where on Earth a view's pixels lie."""
        spots, shown = await frames.pick(body)
        places = [
            None if spot is None else Place(pixel=(pixel[0], pixel[1]), **vars(spot))
            for pixel, spot in zip(body.pixels, spots, strict=True)
        ]
        if not any(places):
            raise NoSurfaceError("No surface is seen at the pixels, only sky or air: pick others.")
        return Picked(**vars(shown), places=places)

    @api.get("/scenes", responses=_problems())
    async def scenes() -> list[SceneEntry]:
        """What can be rendered: jobs with complete checkpoints, the newest first."""
        return [scene_entry(job) for job in await frames.checkpoints()]

    @api.get("/checkpoints", responses=_problems())
    async def checkpoints() -> list[CheckpointEntry]:
        """Every complete checkpoint, by job, the newest first."""
        return [entry for job in await frames.checkpoints() for entry in checkpoint_entries(job)]

    @api.get("/healthz", responses=_problems(503, 504))
    async def healthz() -> Health:
        """Really loads and renders a few pixels of the newest checkpoint, where there is one."""
        check_alive()
        return Health(status="ok", rendered=await frames.prove())

    @api.get("/metrics", response_class=PlainTextResponse, responses=_problems())
    async def read_metrics() -> PlainTextResponse:
        """Figures of this endpoint in Prometheus' text format."""
        return PlainTextResponse(metrics.text())

    return api


def _told(shown: Shown) -> dict[str, str]:
    return {
        "X-Anerf-Scene": quote(shown.scene),
        "X-Anerf-Step": str(shown.step),
        "X-Anerf-Flight": quote(shown.flight),
        **({} if shown.mark is None else {"X-Anerf-Mark": shown.mark}),
    }


def _rays_of(body: bytes, columns: int) -> Float32[np.ndarray, "n c"]:
    if not body or len(body) % (4 * columns):
        raise InputError(
            f"The body has {len(body)} bytes, which are no rays of {columns} float32 each: send "
            f"{4 * columns} bytes a ray, and at least one."
        )
    return np.frombuffer(body, "<f4").reshape(-1, columns)


async def _arrow(first: SeenRays, others: AsyncIterator[tuple[SeenRays, Shown]]) -> AsyncIterator[bytes]:
    sink = io.BytesIO()
    writer = pa.ipc.new_stream(sink, _SCHEMA)

    def taken() -> bytes:
        data = sink.getvalue()
        sink.seek(0)
        sink.truncate()
        return data

    writer.write_batch(_batch(first))
    yield taken()
    async for seen, _ in others:
        writer.write_batch(_batch(seen))
        yield taken()
    writer.close()
    yield taken()


def _batch(seen: SeenRays) -> pa.RecordBatch:
    colors = pa.FixedSizeListArray.from_arrays(pa.array(seen.rgb.ravel()), type=_SCHEMA.field("rgb").type)
    columns = [colors, pa.array(seen.depth_m), pa.array(seen.opacity), pa.array(seen.expert)]
    return pa.record_batch(columns, schema=_SCHEMA)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    known = {"/pick": PickRequest, "/rays": RaysQuery}.get(getattr(request.scope.get("route"), "path", ""))
    return problem(422, f"The request is not valid: {problem_text(errors, known or RenderRequest)}.")

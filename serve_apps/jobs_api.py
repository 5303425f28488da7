"""The HTTP face of the Mediator: jobs are sent, looked at, followed and cancelled. Knows no Ray.

The objects are those that travel on Kafka: a job's JSON goes in, status messages and events come out.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from anerf.errors import AnerfError, InputError, JobError, QueueFull
from anerf.jobs.events import Event, finite
from anerf.jobs.headers import TRACE_HEADER, is_traceparent
from anerf.jobs.message import MAX_MESSAGE_BYTES
from anerf.jobs.states import JobState
from anerf.jobs.table import JobSummary, SubmitResult
from anerf.jobs.topics import MESSAGE_VERSION
from serve_apps.answers import Problem, answer_errors, problem
from serve_apps.door import guard

POLL_S = 0.3
HEARTBEAT_S = 15.0
MOST_LISTED = 1000
_PLACE_DIGITS = 12
"""Of a place in a log or a diary: file systems refuse places behind the largest file that they can hold."""
_EXAMPLE = {
    "op": "train", "job_id": "block-1", "scene": "scenes/block", "outer_steps": 5000, "priority": 0,
}  # fmt: skip


class UnknownJob(InputError):
    """There is no job of this id."""


class MediatorAway(AnerfError):
    """The Mediator does not answer."""

    retryable = True
    retry_after_s = 5


_STATUSES: dict[type[Exception], int] = {
    UnknownJob: 404,
    JobError: 409,
    QueueFull: 429,
    MediatorAway: 503,
    AnerfError: 503,
    OSError: 507,
}


class Jobs(Protocol):
    """The Mediator, as far as it is needed here; every method may raise MediatorAway."""

    async def submit(self, raw: bytes, traceparent: str | None) -> SubmitResult:
        """Take a job on. Raises QueueFull."""
        ...

    async def list(self) -> Sequence[JobSummary]:
        """All jobs, in the order of acceptance."""
        ...

    async def show(self, job_id: str) -> JobSummary:
        """One job. Raises JobError: there is none."""
        ...

    async def cancel(self, job_id: str) -> JobSummary:
        """End a job. Raises JobError: there is none, or it is somebody else's."""
        ...

    async def events(self, job_id: str, from_byte: int) -> tuple[Sequence[Event], int]:
        """A job's events from a place on, and the place to go on from."""
        ...

    async def log_text(self, job_id: str, from_byte: int) -> tuple[str, int]:
        """A job's log from a place on, and the place to go on from."""
        ...


def create_jobs_api(jobs: Jobs, token: str | None = None, origins: tuple[str, ...] = ()) -> FastAPI:
    """The API in front of `jobs`; who may use it is told by `token` and `origins`, see `door`."""
    api = FastAPI(
        title="anerf jobs",
        version=str(MESSAGE_VERSION),
        summary="Send jobs, look at them, follow and cancel them",
        description="A job takes effect once: sent again with the same `job_id` and the same settings it "
        "answers with its state, with other settings it is refused.",
    )
    guard(api, token, origins, max_body_bytes=MAX_MESSAGE_BYTES)
    answer_errors(api, _STATUSES)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    body = {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
    }

    # Serve takes its route off the path, which leaves nothing of `/jobs` itself.
    @api.post("/", include_in_schema=False, status_code=202)
    @api.post(
        "",
        status_code=202,
        responses=_problems(409, 411, 413, 422, 429, 503, 507),
        openapi_extra={"requestBody": body},
    )
    async def send(request: Request) -> JSONResponse:
        """Send a job: 202 if it is new, 200 with its state if it is known already."""
        trace = request.headers.get(TRACE_HEADER)
        result = await jobs.submit(
            await request.body(), trace if trace is not None and is_traceparent(trace) else None
        )
        if result.state is JobState.REJECTED:
            return problem(422 if result.job_id is None else 409, result.message)
        assert result.job_id is not None
        answer = {
            "version": MESSAGE_VERSION,
            "job_id": result.job_id,
            "state": str(result.state),
            "message": result.message,
        }
        where = f"{request.url.path.rstrip('/')}/{result.job_id}"
        return JSONResponse(answer, 202 if result.new else 200, {"Location": where})

    @api.get("/", include_in_schema=False)
    @api.get("", responses=_problems(422, 503))
    async def list_jobs(
        state: JobState | None = None,
        op: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
        after: Annotated[str | None, Query(description="The last `job_id` of the page before")] = None,
        newest: Annotated[bool, Query(description="Newest first")] = True,
    ) -> JSONResponse:
        """Jobs by the time of their acceptance, a page at a time; `next` is `after` of the next page."""
        found = list(await jobs.list())
        if newest:
            found.reverse()
        if after is not None:
            places = [i for i, job in enumerate(found) if job.job_id == after]
            if not places:
                raise UnknownJob(f"there is no job {after[:200]!r} to go on after: begin without `after`")
            found = found[places[0] + 1 :]
        wanted = [j for j in found if state in (None, j.record.state) and op in (None, j.op)]
        page = wanted[:limit]
        following = page[-1].job_id if len(wanted) > limit else None
        return JSONResponse({"jobs": [_shown(job) for job in page], "next": following})

    @api.get("/{job_id}", responses=_problems(404, 503))
    async def show(job_id: str) -> JSONResponse:
        """Where a job stands, as on the status topic."""
        return JSONResponse(_shown(await _known(jobs, job_id)))

    @api.delete("/{job_id}", responses=_problems(404, 409, 503))
    async def cancel(job_id: str) -> JSONResponse:
        """Cancel a job: 202 while it ends, 200 when it has ended; harmless on one that has."""
        await _known(jobs, job_id)
        job = await jobs.cancel(job_id)
        return JSONResponse(_shown(job), 200 if job.record.state.is_terminal else 202)

    @api.get("/{job_id}/log", response_class=PlainTextResponse, responses=_problems(404, 422, 503))
    async def log(job_id: str, from_byte: Annotated[int, Query(ge=0, lt=10**_PLACE_DIGITS)] = 0) -> Response:
        """A job's log from a byte on, a mebibyte at most; `X-Next-Byte` is where to go on."""
        await _known(jobs, job_id)
        text, next_byte = await jobs.log_text(job_id, from_byte)
        return PlainTextResponse(text, headers={"X-Next-Byte": str(next_byte)})

    @api.get("/{job_id}/events", responses=_problems(404, 503), response_class=StreamingResponse)
    async def events(request: Request, job_id: str, follow: bool = True) -> StreamingResponse:
        """A job's events as they come (server-sent events), to its end.

        Without `follow` what there is (JSON lines). The `id` of an event is a place in the job's diary: with
        `Last-Event-ID` a reader goes on behind it.
        """
        await _known(jobs, job_id)
        start = request.headers.get("last-event-id", "0")
        is_place = start.isascii() and start.isdigit() and len(start) <= _PLACE_DIGITS
        from_byte = int(start) if is_place else 0
        if not follow:
            found, _ = await jobs.events(job_id, from_byte)
            lines = (json.dumps(finite(event)) + "\n" for event in found)
            return StreamingResponse(lines, media_type="application/x-ndjson")
        return StreamingResponse(
            _stream(jobs, job_id, from_byte),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return api


async def _stream(jobs: Jobs, job_id: str, from_byte: int) -> AsyncIterator[str]:
    """Server-sent events until the job has ended; a comment now and then keeps proxies from hanging up."""
    silent_s = 0.0
    while True:
        # The state first: what is written before the end is then among the events that follow.
        ended = (await jobs.show(job_id)).record.state.is_terminal
        found, from_byte = await jobs.events(job_id, from_byte)
        for event in found[:-1]:
            yield f"event: {event['kind']}\ndata: {json.dumps(finite(event))}\n\n"
        for event in found[-1:]:
            yield f"id: {from_byte}\nevent: {event['kind']}\ndata: {json.dumps(finite(event))}\n\n"
        if ended:
            return
        silent_s = 0.0 if found else silent_s + POLL_S
        if silent_s >= HEARTBEAT_S:
            silent_s = 0.0
            yield ": still there\n\n"
        await asyncio.sleep(POLL_S)


async def _known(jobs: Jobs, job_id: str) -> JobSummary:
    try:
        return await jobs.show(job_id)
    except JobError as error:
        raise UnknownJob(str(error)) from error


def _shown(job: JobSummary) -> dict[str, Any]:
    return finite({"version": MESSAGE_VERSION, **job.to_json()})


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {
        404: "There is no such job",
        409: "Another job has this id, or somebody else looks after the job",
        411: "No Content-Length",
        413: "The body is too large",
        422: "Not a job, or a query that is not valid",
        429: "Too many jobs wait already: send it later",
        503: "The Mediator does not answer: try again",
        507: "The disk does not take the job",
    }
    return {status: {"model": Problem, "description": told[status]} for status in statuses}


async def _answer_invalid(_: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    text = "; ".join(f"`{e['loc'][-1]}`: {e['msg']}" for e in errors[:5])
    return problem(422, f"The request is not valid: {text}.")

"""Answers that say why a request was not done, the same for every endpoint."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send


class Problem(BaseModel):
    """Why a request was not answered, and what to do."""

    error: str


def answer_errors(api: FastAPI, statuses: Mapping[type[Exception], int]) -> None:
    """Have an API answer errors of these kinds with these statuses, and Starlette's own in our form.

    An error with an attribute `retry_after_s` also says when to come again.
    """
    for kind, status in statuses.items():
        api.add_exception_handler(kind, answer_with(status))
    api.add_exception_handler(HTTPException, _answer_http)


class BodyLimit:
    """Refuses bodies that are large or do not say how large they are, before anything is read.

    Paths of `larger` have limits of their own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            size = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
            if not (size.isascii() and size.isdigit()):
                refusal = problem(411, "The request has no Content-Length: send the body in one piece.")
                return await refusal(scope, receive, send)
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            max_bytes = self._larger.get(path, self._max_bytes)
            if len(size) > 12 or int(size) > max_bytes:
                text = f"The body has {size[:20]} bytes, {max_bytes} are allowed: send less at once."
                return await problem(413, text)(scope, receive, send)
        return await self._app(scope, receive, send)


def problem(status: int, text: str) -> JSONResponse:
    """An answer with a sentence."""
    return JSONResponse({"error": text}, status_code=status)


def answer_with(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler that answers an error with its own sentence."""

    async def answer(_: Request, error: Exception) -> Response:
        response = problem(status, str(error))
        if (seconds := getattr(error, "retry_after_s", None)) is not None:
            response.headers["Retry-After"] = str(seconds)
        return response

    return answer


async def _answer_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return problem(500, str(error))
    response = problem(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response

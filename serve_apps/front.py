"""In front of Serve's own proxy: what its endpoints and its errors would show that ours do not.

Serve loads it where `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `serve_apps.front:middlewares`.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anerf.loopback import is_loopback
from serve_apps.answers import problem

CALLBACK = "serve_apps.front:middlewares"
CALLBACK_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
_OWN = "/-/"
_RETRY_S = "1"


class Front:
    """Keeps Serve's own paths on this machine, and answers 503 for a replica that died with the request.

    Serve sends nothing then, and its web server makes a bare 500 of that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["path"].startswith(_OWN) and not is_loopback((scope.get("server") or ("", None))[0]):
            return await problem(404, "Not Found")(scope, receive, send)
        begun = gone = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        async def watched_receive() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        await self._app(scope, watched_receive, watched_send)
        if begun or gone:
            return None
        answer = problem(503, "What was to answer has just ended and is started again: ask again.")
        answer.headers["Retry-After"] = _RETRY_S
        return await answer(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Serve's proxies when they start."""
    return [Middleware(Front)]

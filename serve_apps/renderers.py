"""Who renders: the same calls whether it is a thread of this process or a replica elsewhere."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

from serve_apps.parts import RendererState
from serve_apps.service import RenderService

Work = Literal["tile", "rays", "pick"]
_NICEST = 19


class Renderers(Protocol):
    """Cancelling the task that waits for an answer stops the work."""

    async def do(self, work: Work, *arguments: Any) -> tuple[Any, RendererState]:
        """What the method of `RenderService` of this name answers, and the state of who did it.

        Raises:
            RenderersAway: nobody does it. All that the method raises.
        """
        ...


class RenderThread:
    """Does one piece of work after the other in a thread of its own, whose priority may be lower."""

    def __init__(self, service: RenderService, name: str = "here", nicer_by: int = 0) -> None:
        self._service, self._name = service, name
        self._thread = ThreadPoolExecutor(1, "render", give_way, (nicer_by,))

    async def do(self, work: Work, *arguments: Any) -> tuple[Any, RendererState]:
        """See `Renderers`."""
        unwanted = threading.Event()
        method = getattr(self._service, work)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._thread, method, *arguments, unwanted.is_set)
        finally:
            # Who waits no longer was cancelled: the thread sees it at its next chunk of rays.
            unwanted.set()
        return answer, RendererState(self._name, self._service.cache)


def give_way(levels: int) -> None:
    """From now on, let others of the machine go before this thread and those that it starts (Linux).

    Args:
        levels: Of niceness, on top of what this thread has. Ray starts all its workers, those that learn too,
            with 15 of at most 19.
    """
    if levels:
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + levels
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))

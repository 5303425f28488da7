"""Who renders: the same calls whether it is a thread of this process or a replica elsewhere."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

from serve_apps.parts import RendererState
from serve_apps.service import RenderService, Running
from serve_apps.source import NotFoundError, RunningSource

Work = Literal["tile", "rays", "pick"]
LOOKS_AT_ONCE = 4
"""Running jobs that are looked at; who asks for one more waits until one of them has answered."""
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
    """Does one piece of work after the other in a thread of its own, whose priority may be lower.

    A running job may take its time to answer, so it is looked at before, by other threads: one thread a job,
    however many wait for it. For one event loop.

    Args:
        newest: The newest scene of a job that runs, by its id; raises NotFoundError where it does not.
    """

    def __init__(
        self,
        service: RenderService,
        name: str = "here",
        nicer_by: int = 0,
        newest: Callable[[str], Running] | None = None,
    ) -> None:
        self._service, self._name, self._newest = service, name, newest
        self._thread = ThreadPoolExecutor(1, "render", give_way, (nicer_by,))
        self._lookers = ThreadPoolExecutor(LOOKS_AT_ONCE, "look", give_way, (nicer_by,))
        self._looks: dict[str, asyncio.Future[Running]] = {}

    async def do(self, work: Work, *arguments: Any) -> tuple[Any, RendererState]:
        """See `Renderers`."""
        source, *others = arguments
        if isinstance(source, RunningSource):
            source = await self._look(source.job)
        unwanted = threading.Event()
        method = getattr(self._service, work)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._thread, method, source, *others, unwanted.is_set)
        finally:
            # Who waits no longer was cancelled: the thread sees it at its next chunk of rays.
            unwanted.set()
        return answer, RendererState(self._name, self._service.cache)

    async def _look(self, job: str) -> Running:
        """Its newest scene, by the look that is under way or by a new one."""
        if self._newest is None:
            raise NotFoundError(f"No jobs run where this is rendered, so neither does {job}.")
        look = self._looks.get(job)
        if look is None:
            look = asyncio.get_running_loop().run_in_executor(self._lookers, self._newest, job)
            self._looks[job] = look
            look.add_done_callback(lambda _: self._looks.pop(job))
        # Others may wait for it when this one goes away.
        return await asyncio.shield(look)


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

"""Whole answers from renderers' parts: pictures from tiles, streams of rays, places. Knows no torch."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from anerf.checkpoint.manifest import Manifest
from anerf.errors import AnerfError
from anerf.products.layers import LayerFile, LayerValues, encode_layer
from anerf.render.view import SeenRays
from serve_apps.admission import Admission
from serve_apps.parts import RendererState, Shown, Spot, TilePart
from serve_apps.requests import PickRequest, RaysQuery, RenderRequest, View
from serve_apps.source import (
    DamagedError,
    JobCheckpoints,
    NotFoundError,
    RunningSource,
    Source,
    all_checkpoints,
    find_source,
)

if TYPE_CHECKING:
    from serve_apps.renderers import Renderers, Work

TILE_PIXELS = 200_000
"""Of a picture that is rendered in one piece; larger ones are divided into rows."""
RAYS_AT_ONCE = 65_536
"""Of a batch of the answer."""
_BATCHES_AHEAD = 4
_PROBE_S = 20.0


class LateError(AnerfError):
    """The answer was not ready when the client wanted it."""


@dataclass(frozen=True)
class RenderedFile:
    """An encoded picture and what it shows; `render_s` is what renderers took for all tiles together."""

    file: LayerFile
    shown: Shown
    render_s: float
    tiles: int
    experts: int


class Frames:
    """Answers from the checkpoints below `out_root`.

    Args:
        tell: Hears who rendered and what is in its memory.
    """

    def __init__(
        self,
        renderers: "Renderers",
        out_root: Path,
        admission: Admission | None = None,
        tell: Callable[[RendererState], None] = lambda _: None,
        tile_pixels: int = TILE_PIXELS,
    ) -> None:
        self.out_root = out_root
        self.admission = admission or Admission()
        self._renderers, self._tell, self._tile_pixels = renderers, tell, tile_pixels

    async def picture(self, request: RenderRequest) -> RenderedFile:
        """The picture that is asked for.

        Raises:
            TooBusyError: too much waits already. LateError: its deadline passed.
            OutsideError, NotFoundError: the checkpoint. All that `RenderService.tile` raises.
        """
        async with self._admitted(request.deadline_s):
            return await self._picture(await self._source(request), request)

    async def pick(self, request: PickRequest) -> tuple[list[Spot | None], Shown]:
        """Places on the surface under the view's pixels; raises as `picture`."""
        async with self._admitted(request.deadline_s):
            return await self._do("pick", await self._source(request), request)

    async def rays(
        self, query: RaysQuery, read: Callable[[], Awaitable[Float32[np.ndarray, "n c"]]]
    ) -> AsyncIterator[tuple[SeenRays, Shown]]:
        """What rays see, batch after batch in their order; raises as `picture`, most of it before the first.

        They are read once there is a place for them, and a batch is rendered when the one that is four before
        it was taken.
        """
        start = time.monotonic()
        waiting: deque[asyncio.Task[tuple[SeenRays, Shown]]] = deque()
        with self.admission.place():
            try:
                async with _until(query.deadline_s):
                    source, rays = await self._source(query), await read()
                starts = iter(range(0, len(rays), RAYS_AT_ONCE))
                for first in starts:
                    waiting.append(self._begin("rays", source, query, rays[first : first + RAYS_AT_ONCE]))
                    if len(waiting) == _BATCHES_AHEAD:
                        break
                while waiting:
                    # Not around the whole: what iterates may do so from more than one task.
                    async with _until(query.deadline_s, start):
                        seen = await waiting[0]
                    waiting.popleft()
                    if (first := next(starts, None)) is not None:
                        waiting.append(self._begin("rays", source, query, rays[first : first + RAYS_AT_ONCE]))
                    yield seen
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
        self.admission.took(time.monotonic() - start)

    async def checkpoints(self) -> list[JobCheckpoints]:
        """What can be rendered, the newest first."""
        return await asyncio.to_thread(all_checkpoints, self.out_root)

    async def prove(self) -> str:
        """Render 8 x 8 pixels of the newest usable checkpoint; says what was rendered.

        It goes past those who wait for a place, and waits for a renderer.

        Raises:
            AnerfError: rendering fails, or takes 20 s.
        """
        for job in await self.checkpoints():
            if isinstance(job.newest, str):
                continue
            probe = _probe(job.job, job.steps[-1], job.newest)
            start = time.monotonic()
            try:
                async with _until(_PROBE_S):
                    seen = await self._picture(await self._source(probe), probe)
            except (NotFoundError, DamagedError):
                continue
            passed_s = time.monotonic() - start
            return f"{job.job}, step {seen.shown.step}, 8 x 8 pixels in {passed_s * 1000:.0f} ms"
        return "nothing rendered: no usable checkpoint yet"

    @asynccontextmanager
    async def _admitted(self, deadline_s: float) -> AsyncIterator[None]:
        start = time.monotonic()
        with self.admission.place():
            async with _until(deadline_s):
                yield
        self.admission.took(time.monotonic() - start)

    async def _source(self, request: RenderRequest | PickRequest | RaysQuery) -> Source | RunningSource:
        if request.checkpoint is None:
            assert isinstance(request, View)
            assert request.job is not None
            return RunningSource(request.job)
        return await asyncio.to_thread(find_source, self.out_root, request.checkpoint, request.prefix)

    async def _picture(self, source: Source | RunningSource, request: RenderRequest) -> RenderedFile:
        # Two tiles of a running job could show two versions of it.
        n_pixels = 10**9 if isinstance(source, RunningSource) else self._tile_pixels
        rows = tile_rows(request.width, request.height, n_pixels)
        tiles = [self._begin("tile", source, request, part) for part in rows]
        try:
            parts: list[TilePart] = await asyncio.gather(*tiles)
        finally:
            for tile in tiles:
                tile.cancel()
        file = await asyncio.to_thread(_encoded, request, parts)
        return RenderedFile(
            file,
            parts[0].shown,
            sum(part.render_s for part in parts),
            len(parts),
            len({expert for part in parts for expert in part.experts}),
        )

    def _begin(self, work: "Work", *arguments: Any) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self._do(work, *arguments))

    async def _do(self, work: "Work", *arguments: Any) -> Any:
        answer, state = await self._renderers.do(work, *arguments)
        self._tell(state)
        return answer


def tile_rows(width: int, height: int, tile_pixels: int) -> list[tuple[int, int]]:
    """Rows (first, end) of the fewest even tiles that have no more than so many pixels, if a row has not."""
    n_tiles = min(-(-width * height // tile_pixels), height)
    borders = [round(i * height / n_tiles) for i in range(n_tiles + 1)]
    return list(itertools.pairwise(borders))


@asynccontextmanager
async def _until(deadline_s: float, start: float | None = None) -> AsyncIterator[None]:
    """At most so many seconds after `start` (by the monotonic clock), or from now on."""
    passed_s = 0.0 if start is None else time.monotonic() - start
    try:
        async with asyncio.timeout(deadline_s - passed_s):
            yield
    except TimeoutError as error:
        raise LateError(
            f"It was not ready after {deadline_s:g} s: ask for fewer pixels or samples, or allow more with "
            "deadline_s."
        ) from error


def _encoded(request: RenderRequest, parts: list[TilePart]) -> LayerFile:
    values = np.concatenate([part.values for part in parts])
    opacity = np.concatenate([part.opacity for part in parts])
    return encode_layer(LayerValues(request.layer, values, opacity), request.format)


def _probe(job: str, step: int, manifest: Manifest) -> RenderRequest:
    (x0, y0, _), (x1, y1, z1) = manifest.scene.aabb
    down = [[1.0, 0.0, 0.0, (x0 + x1) / 2], [0.0, 1.0, 0.0, (y0 + y1) / 2], [0.0, 0.0, 1.0, z1 + 10.0]]
    return RenderRequest(checkpoint=job, prefix=f"step{step}", c2w=down, width=8, height=8, samples=8)

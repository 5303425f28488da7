"""The render endpoint on Ray Serve: one replica answers HTTP, others render."""

import asyncio
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from actors import metrics
from anerf.errors import AnerfError
from serve_apps.admission import LIMIT, Admission, RenderersAway
from serve_apps.door import Door

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serve_apps.parts import RendererState
    from serve_apps.renderers import Work

CPUS = 0.25
"""Small, so that a renderer stands beside a training job on a machine with two cores; see `threads_for`."""
ENDPOINT_CPUS = 0.05
"""It waits for renderers nearly all the time."""
NICER_BY = 5
"""Levels of a renderer with less than a core: beside a training it gets a third of a core at most."""
_AT_HAND = 3
"""Pieces of work that a renderer has been given. All who are let in may wait for running jobs beside them."""
_ATTEMPTS = 3
_PATIENCE_S = 20.0
_RETRY_S = 0.2
_log = logging.getLogger(__name__)


def threads_for(cpus: float) -> tuple[int, int]:
    """Threads of a renderer that Ray has given so many CPUs, and by how much it is nicer than other workers.

    Whole CPUs are its own. With less than one it stands beside others' work: it takes all cores when they are
    idle, and gives way when they are not.
    """
    return (int(cpus), 0) if cpus >= 1 else (len(os.sched_getaffinity(0)), NICER_BY)


@serve.deployment(
    name="renderer",
    ray_actor_options={"num_cpus": CPUS},
    health_check_period_s=2,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=5,
)
class RendererDeployment:
    """A replica: experts in memory, one piece of a picture at a time."""

    def __init__(self, cache_bytes: int) -> None:
        # Here, because the process that starts the endpoint needs no torch.
        from anerf.field.threads import use_threads
        from serve_apps.live import LiveScenes
        from serve_apps.renderers import RenderThread
        from serve_apps.service import RenderService

        threads, nicer_by = threads_for(ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0))
        use_threads(threads)
        self._service = RenderService(cache_bytes)
        name = serve.get_replica_context().replica_id.unique_id
        self._thread = RenderThread(self._service, name, nicer_by, LiveScenes().newest)
        _log.info("rendering with %d threads, nicer by %d", threads, nicer_by)

    async def do(self, work: "Work", *arguments: Any) -> "tuple[Any, RendererState]":
        """See `renderers.Renderers`."""
        return await self._thread.do(work, *arguments)

    def check_health(self) -> None:
        """Called by Serve: a replica whose render hangs is replaced."""
        self._service.check_alive()


class RendererReplicas:
    """`Renderers` through Serve; what a replica that dies was about is done again by another."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def do(self, work: "Work", *arguments: Any) -> "tuple[Any, RendererState]":
        """See `renderers.Renderers`."""
        start = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            asked = self._handle.do.remote(work, *arguments)
            try:
                return await cast(Any, asked)
            except asyncio.CancelledError:
                # Serve does so when a client goes away, not when we stop waiting.
                asked.cancel()
                raise
            except RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, AnerfError) else error) from error
            except (RayActorError, DeploymentUnavailableError, BackPressureError) as error:
                _log.warning("a renderer is gone (%s), attempt %d", type(error).__name__, attempt)
                if attempt == _ATTEMPTS or time.monotonic() - start > _PATIENCE_S:
                    raise RenderersAway("Nobody renders now, and soon somebody will: ask again.") from error
            await asyncio.sleep(_RETRY_S)
        raise AssertionError


@serve.deployment(
    name="render",
    ray_actor_options={"num_cpus": ENDPOINT_CPUS},
    max_ongoing_requests=256,
    max_queued_requests=256,
    health_check_period_s=2,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress()
class RenderDeployment:
    """The endpoint: lets requests in, divides pictures, and puts them together."""

    def __init__(self, renderers: DeploymentHandle, out_root: str, door: Door, limit: int) -> None:
        self._renderers, self._out_root, self._limit = renderers, Path(out_root), limit
        self._door, self._token = door, door.token()

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Called by Serve once the replica stands."""
        from serve_apps.api import create_api
        from serve_apps.frames import Frames
        from serve_apps.telling import EndpointMetrics

        admission = Admission(self._limit)
        told = EndpointMetrics(admission, partial(metrics.observe, metrics.RENDER))
        frames = Frames(RendererReplicas(self._renderers), self._out_root, admission, told.heard)
        return create_api(frames, told, self._token, self._door.origins)


class Arguments(BaseModel):
    """What a Serve config file says of the endpoint."""

    model_config = ConfigDict(extra="forbid")

    out: str
    """Folder of the jobs."""
    token_file: str | None = None
    """Without it, the endpoint answers on loopback addresses only."""
    origins: list[str] = []
    """Web pages whose scripts may call it."""
    limit: Annotated[int, Field(ge=1)] = LIMIT
    """Requests that are worked on or wait; what is more is answered with 429."""
    cache_mb: Annotated[int, Field(ge=1)] = 2048
    """Experts' parameters that a renderer keeps."""
    min_renderers: Annotated[int, Field(ge=1)] = 1
    max_renderers: Annotated[int, Field(ge=1)] = 1


def application(arguments: Arguments) -> serve.Application:
    """The endpoint as a Serve config file names it: `import_path: serve_apps.render:application`.

    Raises:
        InputError: the token file holds none.
    """
    door = Door(arguments.token_file, tuple(arguments.origins))
    door.token()
    # A renderer that has one piece of work to do and one to do next is busy.
    renderers = RendererDeployment.options(
        max_ongoing_requests=_AT_HAND + arguments.limit,
        autoscaling_config={
            "min_replicas": arguments.min_renderers,
            "max_replicas": max(arguments.min_renderers, arguments.max_renderers),
            "target_ongoing_requests": 2,
            "upscale_delay_s": 5,
            "downscale_delay_s": 120,
        },
    ).bind(arguments.cache_mb << 20)
    out = str(Path(arguments.out).absolute())
    return RenderDeployment.bind(renderers, out, door, arguments.limit)


def build_app(out_root: str, door: Door | None = None, **options: Any) -> serve.Application:
    """The endpoint for the checkpoints of the jobs below `out_root`; `options` are those of `Arguments`."""
    door = door or Door()
    return application(
        Arguments(out=out_root, token_file=door.token_file, origins=list(door.origins), **options)
    )

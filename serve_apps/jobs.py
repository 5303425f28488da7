"""The jobs API on Ray Serve: `/jobs`, in front of the cluster's Mediator."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayActorError, RayTaskError

from actors.names import MEDIATOR, NAMESPACE
from anerf.errors import AnerfError
from anerf.jobs.events import Event
from anerf.jobs.table import JobSummary, SubmitResult
from serve_apps.door import Door
from serve_apps.jobs_api import MediatorAway, create_jobs_api

if TYPE_CHECKING:
    from fastapi import FastAPI

ROUTE = "/jobs"
CPUS = 0.05
"""It waits for others nearly all the time."""
_PATIENCE_S = 8.0
_RETRY_S = 0.3


class MediatorJobs:
    """`Jobs` through the Mediator's handle; a Mediator that is being started again is waited for."""

    async def submit(self, raw: bytes, traceparent: str | None) -> SubmitResult:
        """Take a job on. One that gives no `job_id` gets it here, since Ray and we may ask more than once."""
        mark = secrets.token_hex(8)
        return await self._ask("submit", raw, "kafka", mark, traceparent)

    async def list(self) -> Sequence[JobSummary]:
        """All jobs."""
        return await self._ask("list")

    async def show(self, job_id: str) -> JobSummary:
        """One job."""
        return await self._ask("show", job_id)

    async def cancel(self, job_id: str) -> JobSummary:
        """End a job."""
        return await self._ask("cancel", job_id)

    async def events(self, job_id: str, from_byte: int) -> tuple[Sequence[Event], int]:
        """A job's events."""
        return await self._ask("events", job_id, from_byte)

    async def log_text(self, job_id: str, from_byte: int) -> tuple[str, int]:
        """A job's log."""
        return await self._ask("log_text", job_id, from_byte)

    async def _ask(self, method: str, *arguments: object) -> Any:
        """The Mediator's answer; its own errors come through as they are.

        Raises:
            MediatorAway: there is none, and none comes back.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                mediator: Any = await asyncio.to_thread(ray.get_actor, MEDIATOR, NAMESPACE)
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + _PATIENCE_S):
                    return await getattr(mediator, method).remote(*arguments)
            except RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, AnerfError | OSError) else error) from error
            except (RayActorError, ValueError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise MediatorAway(
                        "the Mediator does not answer: try again, or see `anerf status`"
                    ) from error
            await asyncio.sleep(_RETRY_S)


@serve.deployment(
    name="jobs",
    ray_actor_options={"num_cpus": CPUS},
    max_ongoing_requests=256,
    max_queued_requests=256,
    health_check_period_s=10,
    graceful_shutdown_timeout_s=2,
)
@serve.ingress()
class JobsDeployment:
    """One replica."""

    def __init__(self, door: Door) -> None:
        self._door, self._token = door, door.token()

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Called by Serve once the replica stands."""
        return create_jobs_api(MediatorJobs(), self._token, self._door.origins)


class Arguments(BaseModel):
    """What `serve run` or a Serve config file says of the API."""

    model_config = ConfigDict(extra="forbid")

    token_file: str | None = None
    """Without it, the API answers on loopback addresses only."""
    origins: list[str] = []
    """Web pages whose scripts may call it."""


def application(arguments: Arguments) -> serve.Application:
    """The API as a Serve config file names it: `import_path: serve_apps.jobs:application`.

    Raises:
        InputError: the token file holds none.
    """
    return build_jobs_app(Door(arguments.token_file, tuple(arguments.origins)))


def build_jobs_app(door: Door | None = None) -> serve.Application:
    """The API of the Mediator in this cluster.

    Raises:
        InputError: the door's token file holds none.
    """
    door = door or Door()
    door.token()
    return JobsDeployment.bind(door)

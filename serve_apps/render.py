"""The render endpoint on Ray Serve."""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from pydantic import BaseModel, ConfigDict
from ray import serve

from actors import metrics

if TYPE_CHECKING:
    from fastapi import FastAPI

CPUS = 0.25
"""Small, so that the endpoint stands beside a training job on a machine with two cores."""
_log = logging.getLogger(__name__)


@serve.deployment(
    name="render",
    ray_actor_options={"num_cpus": CPUS},
    max_ongoing_requests=4,
    max_queued_requests=16,
    health_check_period_s=10,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress()
class RenderDeployment:
    """One replica: a few models in memory, one picture at a time."""

    def __init__(self, out_root: str) -> None:
        # Here, because the process that starts the endpoint needs no torch.
        from anerf.field.threads import n_threads, use_threads
        from serve_apps.service import RenderService

        share = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
        use_threads(int(share))
        self._service = RenderService(Path(out_root))
        _log.info("rendering checkpoints below %s with %d threads", out_root, n_threads())

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Called by Serve once the replica stands."""
        from serve_apps.api import create_api

        return create_api(self._service, partial(metrics.observe, metrics.RENDER))

    def check_health(self) -> None:
        """Called by Serve: a replica whose render hangs is replaced."""
        self._service.check_alive()


class Arguments(BaseModel):
    """What a Serve config file says of the endpoint."""

    model_config = ConfigDict(extra="forbid")

    out: str
    """Folder of the jobs."""


def application(arguments: Arguments) -> serve.Application:
    """The endpoint as a Serve config file names it: `import_path: serve_apps.render:application`."""
    return build_app(arguments.out)


def build_app(out_root: str) -> serve.Application:
    """The endpoint for the checkpoints of the jobs below `out_root` (made absolute here)."""
    return RenderDeployment.bind(str(Path(out_root).absolute()))

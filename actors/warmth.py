"""Idle worker processes that have everything imported, so that a job's actors start in tenths of a second.

Most of an actor's start is importing torch. Ray's raylet can start worker processes ahead and let them
import modules (`RAY_preload_python_modules` in its environment, see `cluster.head`), but it does so once, for
as many as it has CPUs. Here it is asked for more whenever some were taken. The request is part of the
raylet's service, which Ray's state tools speak too; Ray has no public call for it.
"""

import logging
import os
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import node_manager_pb2
from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

from anerf.errors import StackError

logger = logging.getLogger(__name__)

_KEEP_ALIVE_S = 24 * 3600
_TIMEOUT_S = 10.0
_PROC = Path("/proc")


class _Raylet(Protocol):
    def PrestartWorkers(self, request: Any, timeout: float) -> object: ...  # noqa: N802


class WarmWorkers:
    """Keeps so many idle workers on this process's node."""

    def __init__(self, n: int) -> None:
        """Find the node's raylet.

        Raises:
            StackError: Ray does not know the node.
        """
        self._n = n
        here = ray.get_runtime_context().get_node_id()
        node = next((node for node in ray.nodes() if node["NodeID"] == here), None)
        if node is None:
            raise StackError(f"Ray does not know its node {here}: start the stack without --warm")
        channel: Any = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
        self._raylet = cast(_Raylet, NodeManagerServiceStub(channel))

    def top_up(self) -> int:
        """Ask for as many as are missing; how many these are. They come in their own time.

        A raylet that does not answer in time is busy, or ending: it is asked again the next time.
        """
        missing = self._n - n_idle(os.getppid())
        if missing > 0:
            messages: Any = node_manager_pb2
            request = messages.PrestartWorkersRequest(
                num_workers=missing, keep_alive_duration_secs=_KEEP_ALIVE_S
            )
            try:
                self._raylet.PrestartWorkers(request, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                logger.warning("the raylet does not start idle workers, trying again: %s", error)
        return max(0, missing)


def n_idle(raylet_pid: int) -> int:
    """How many of a raylet's workers have nothing to do yet, those counted that are still starting."""
    return sum(_is_idle_child(folder, raylet_pid) for folder in _PROC.iterdir() if folder.name.isdecimal())


def _is_idle_child(folder: Path, parent: int) -> bool:
    try:
        if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
            return False
        title = (folder / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return False
    return title.startswith(b"ray::IDLE") or b"default_worker.py" in title

"""The jobs API's side of the Mediator, on a real Ray. Run these on loopback."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from actors.limits import Limits
from actors.mediator import Mediator
from actors.names import MEDIATOR, NAMESPACE
from serve_apps.jobs import MediatorJobs

pytestmark = pytest.mark.integration


class DyingMediator(Mediator):
    """Dies the first time that it has taken a job on, before it can say so."""

    def submit(self, *message: Any) -> Any:
        result = super().submit(*message)
        died = self._table.out / "died"
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result


@pytest.fixture
def mediator(tmp_path: Path) -> Iterator[Any]:
    """One whose process dies once; Ray starts it again and asks it again, as it does the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(["", os.environ.get("PYTHONPATH", "")]).strip(os.pathsep))
        import ray

        ray.init(
            address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )  # fmt: skip
        try:
            kept_alive = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 8}
            actor = cast(Any, ray.remote(DyingMediator)).options(
                name=MEDIATOR, namespace=NAMESPACE, num_cpus=0, **kept_alive
            )
            yield actor.remote(str(tmp_path / "logs"), str(tmp_path), Limits())
        finally:
            ray.shutdown()


def test_a_job_without_an_id_is_one_job_however_often_it_is_asked_for(mediator, tmp_path, monkeypatch):
    monkeypatch.setattr("serve_apps.jobs._PATIENCE_S", 60)
    raw = json.dumps({"op": "train", "scene": str(tmp_path / "nowhere")}).encode()

    async def send_two() -> tuple[Any, Any, Any]:
        jobs = MediatorJobs()
        first = await jobs.submit(raw, None)
        # Another request is another job, even if it says the same.
        return first, await jobs.submit(raw, None), await jobs.list()

    first, second, listed = asyncio.run(send_two())
    assert (tmp_path / "logs" / "died").exists(), "it was not asked twice"
    assert not first.new
    assert second.new
    assert [job.job_id for job in listed] == [first.job_id, second.job_id]

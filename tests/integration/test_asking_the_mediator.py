"""A Mediator that cannot write or does not answer, as whoever starts a job within the cluster hears it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from actors.limits import Limits
from actors.mediator import start_mediator
from actors.running import NoAnswer
from actors.starting import MediatedJob
from anerf.errors import StorageUnavailable
from anerf.jobs.spec import parse_job
from tests.storage_places import SmallDisk, small_disk

pytestmark = pytest.mark.integration


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(["", os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    )
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
        _node_ip_address="127.0.0.1", namespace="anerf",
    )  # fmt: skip
    yield
    ray.shutdown()


def ask_on(mediator: Any) -> None:
    """One that was killed may still answer for a moment."""
    for _ in range(10_000):
        ray.get(mediator.ready.remote(), timeout=60)


def test_why_a_job_cannot_be_started_is_told(cluster: None, disk: SmallDisk) -> None:
    job = parse_job({"op": "view", "job_id": "v", "checkpoint_path": str(disk.root / "nowhere")})
    mediator = start_mediator(disk.root, disk.root, Limits())
    ray.get(mediator.ready.remote())
    disk.fill()
    with pytest.raises(StorageUnavailable, match=r"output folder is not available.*make room"):
        MediatedJob(job, mediator)
    ray.kill(mediator)
    with pytest.raises(RayActorError):
        ask_on(mediator)
    with pytest.raises(NoAnswer, match=r"the Mediator does not answer: .* `anerf status`"):
        MediatedJob(job, mediator)

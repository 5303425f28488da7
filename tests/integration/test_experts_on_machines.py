"""Where a job's experts live on a cluster of two machines, both of them emulated here."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.diaries import events_of

pytestmark = pytest.mark.integration

ANERF = Path(sys.executable).with_name("anerf")
# It ends with the test, also when that is killed: its input is closed then.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
cluster.add_node(num_cpus=4)
sys.stdout.write(cluster.address + chr(10))
sys.stdout.flush()
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    lines = iter(cluster.stdout.readline, "")
    address = next(line.strip() for line in lines if line.startswith("127.0.0.1:"))
    yield os.environ | {"RAY_ADDRESS": address}
    cluster.stdin.close()
    cluster.wait(timeout=120)


def experts_by_machine(address: str) -> list[int]:
    """Processes of experts below each raylet of the cluster."""
    found: Counter[str] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_text().startswith("ray::ExpertActor"):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if address in Path(f"/proc/{parent}/cmdline").read_text():
                    found[parent] += 1
        except OSError:  # it has just ended
            continue
    return sorted(found.values())


@pytest.mark.parametrize(("placement", "machines"), [("spread", [2, 2]), ("pack", [4])])
def test_experts_go_where_the_job_says(environment, tmp_path, train_job: Any, placement, machines):
    content = train_job(job_id=placement, placement=placement, outer_steps=100_000)
    (tmp_path / "job.json").write_text(json.dumps(content))
    process = subprocess.Popen(
        [ANERF, "run", "job.json"], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not events_of(tmp_path / "logs" / placement, "progress"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no expert starts"
        time.sleep(0.1)
    where = experts_by_machine(environment["RAY_ADDRESS"])
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 3, shown
    assert where == machines

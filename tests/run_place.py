"""A cluster, and a folder in which `anerf run` does jobs on it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.jobs.places import find_checkpoint
from tests.diaries import events_of

T = TypeVar("T")
ANERF = Path(sys.executable).with_name("anerf")
# A cluster that ends with the test, also when that is killed: its input is closed then.
HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         _node_ip_address="127.0.0.1", _temp_dir=sys.argv[1],
         _system_config={"metrics_report_interval_ms": 1000})
(node,) = ray.nodes()
sys.stdout.write(ray.get_runtime_context().gcs_address + chr(10))
sys.stdout.write(str(node["MetricsExportPort"]) + chr(10))
sys.stdout.flush()
sys.stdin.read()
ray.shutdown()
"""


class Place:
    """A folder in which jobs are run, and the cluster that does them."""

    def __init__(self, root: Path, run_dir: Path, environment: dict[str, str], metrics_port: int) -> None:
        self.root, self.run_dir, self.environment = root, run_dir, environment
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.out = root / "logs"

    def start(self, content: dict[str, Any], job_id: str) -> subprocess.Popen[str]:
        """`anerf run` of a job, which goes on meanwhile."""
        file = self.root / f"{job_id}.json"
        file.write_text(json.dumps({**content, "job_id": job_id}))
        return subprocess.Popen(
            [ANERF, "run", file.name], cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, content: dict[str, Any], job_id: str, status: int = 0) -> str:
        """A job run to its end; what was shown."""
        return ended(self.start(content, job_id), status)

    def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        return events_of(self.out / job_id, kind)

    def metrics(self, name: str, **labels: str) -> dict[str, float]:
        """What Prometheus would read of a metric with these labels, now: values by their whole line.

        Nothing where Ray's agent is too busy to answer: whoever needs them asks again.
        """
        try:
            lines = httpx.get(self.metrics_url, timeout=10).text.splitlines()
        except httpx.TransportError:
            return {}
        found = {}
        for line in lines:
            series, _, value = line.rpartition(" ")
            if series.startswith(name + "{") and all(f'{k}="{v}"' in series for k, v in labels.items()):
                found[series] = float(value)
        return found

    def states(self, job_id: str) -> list[str]:
        return [event["state"] for event in self.events(job_id, "state")]

    def manifest(self, job_id: str) -> Manifest:
        return read_manifest(find_checkpoint(str(self.out / job_id), "last"))

    def experts(self) -> list[int]:
        """Processes of this cluster's experts, in the order of their start."""
        return self.processes("ray::ExpertActor")

    def processes(self, title_start: str) -> list[int]:
        """Processes of this cluster to which Ray has given such a title."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                title = (folder / "cmdline").read_text()
                is_ours = str(self.run_dir) in Path(f"/proc/{parent}/cmdline").read_text()
            except OSError:  # it has just ended
                continue
            if title.startswith(title_start) and is_ours:
                found.append(int(folder.name))
        return sorted(found)


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    shown, _ = process.communicate(timeout=300)
    assert process.returncode == status, shown
    return shown


def wait_for(
    condition: Callable[[], T], process: subprocess.Popen[str] | None = None, timeout_s: float = 240
) -> T:
    """What the condition says as soon as it holds; meanwhile `process`, if any, must go on."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert process is None or process.poll() is None, f"it ended too early: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)
    return found


def reached(place: Place, job_id: str, step: int) -> bool:
    return any(event["step"] >= step for event in place.events(job_id, "progress"))


@contextmanager
def cluster(root: Path, more: Mapping[str, str]) -> Iterator[Place]:
    """A cluster of 2 CPUs with `more` in its environment, and a place at `root` to run jobs on it."""
    run_dir = Path(tempfile.mkdtemp(prefix="anerf-test-"))  # Ray's sockets need a short path
    token = run_dir / "token"
    token.write_text("a" * 64)
    # One thread an expert: with more, sums may be added up in another order.
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "500", **more}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(run_dir)], env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert head.stdin is not None
    assert head.stdout is not None
    environment["RAY_ADDRESS"] = head.stdout.readline().strip()
    assert environment["RAY_ADDRESS"].startswith("127.0.0.1:")
    yield Place(root, run_dir, environment, int(head.stdout.readline()))
    head.stdin.close()
    head.wait(timeout=120)
    shutil.rmtree(run_dir, ignore_errors=True)

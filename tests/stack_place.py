"""A folder with a stack in it, and the commands that a user gives there."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from cluster.processes import Process, members
from cluster.stack import Stack, living_stack
from tests.diaries import events_of

ANERF = Path(sys.executable).with_name("anerf")
RAY_VARIABLES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS")


class Place:
    """A folder with a stack, and the commands given in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = root / "logs"

    def anerf(self, *arguments: str, status: int | None = 0, timeout_s: float = 300) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in RAY_VARIABLES}
        environment["RAY_metrics_report_interval_ms"] = "1000"
        done = subprocess.run(
            [ANERF, *arguments], capture_output=True, text=True, cwd=self.root, env=environment,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def job(self, job_id: str, **fields: object) -> str:
        content = {"op": "train", "job_id": job_id, "scene": "nowhere", **fields}
        (self.root / f"{job_id}.json").write_text(json.dumps(content))
        return f"{job_id}.json"

    def shown(self, job_id: str) -> dict:
        lines = self.anerf("jobs", "show", job_id, "--json").splitlines()
        return json.loads(lines[-1]) if lines[-1].startswith("{") else json.loads(lines[0])

    def events(self, job_id: str) -> list[dict]:
        return events_of(self.out / job_id)

    def states(self, job_id: str) -> list[str]:
        return [event["state"] for event in self.events(job_id) if event["kind"] == "state"]

    @property
    def stack(self) -> Stack:
        return living_stack(self.out)

    def kill_everything(self) -> None:
        """As a power cut does; what one process starts when it sees another killed goes with the rest."""
        stack = self.stack

        def are_gone() -> bool:
            left = processes(stack)
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            return not left

        wait_for(are_gone)


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.2)


def written_at(event: dict) -> float:
    """When an event was written, as `time.time()` has it."""
    return datetime.fromisoformat(event["at"]).timestamp()


def processes(stack: Stack) -> list[Process]:
    return members(Path(stack.run_dir), stack.processes)


def titles(stack: Stack) -> dict[int, str]:
    """The command lines of its processes, with the titles that Ray has given them."""
    found = {}
    for process in processes(stack):
        with suppress(OSError):  # it has just ended
            found[process.pid] = Path(f"/proc/{process.pid}/cmdline").read_text()
    return found


def process_of(stack: Stack, title: str) -> int:
    """The process that Ray has given this title."""
    for pid, of_process in titles(stack).items():
        if title in of_process:
            return pid
    raise AssertionError(f"no process {title}")


def rooms(stack: Stack) -> list[str]:
    """The groups of experts for which the cluster keeps room."""
    answer = httpx.get(
        f"http://127.0.0.1:{stack.dashboard_port}/api/v0/placement_groups",
        headers={"Authorization": f"Bearer {Path(str(stack.token_path)).read_text()}"},
        timeout=60,
    )
    groups = answer.raise_for_status().json()["data"]["result"]["result"]
    return [group["name"] for group in groups if group["state"] != "REMOVED"]


def files_with(secret: bytes, *roots: Path) -> tuple[list[Path], int]:
    """The files below these folders that hold a secret, and how many were read: some vanish meanwhile."""
    found, looked = [], 0
    paths = (Path(folder, name) for root in roots for folder, _, names in os.walk(root) for name in names)
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_file():
                looked += 1
                found += [path] if secret in path.read_bytes() else []
    return found, looked


def messages(stack: Stack, topic: str, enough) -> list:
    """What lies on a topic, read until there is enough of it."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "group.id": f"test-{time.monotonic_ns()}",
            "log_level": 0,
        }
    )
    partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    found, deadline = [], time.monotonic() + 120
    while not enough(found):
        assert time.monotonic() < deadline, f"{topic} holds {[m.value() for m in found]}"
        if (message := consumer.poll(0.2)) is not None and message.error() is None:
            found.append(message)
    consumer.close()
    return found

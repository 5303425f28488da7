"""Storage that can be taken away and given back: a small disk, and an S3 of one's own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

S3_KEYS = {"AWS_ACCESS_KEY_ID": "of-the-test", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
BUCKET = "surveys"


class SmallDisk:
    """A file system that can be filled up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Use up everything but so many bytes."""
        with self._ballast.open("ab", buffering=0) as file:
            seen = os.statvfs(self.root)
            file.write(b"\0" * max(0, seen.f_bavail * seen.f_frsize - leave_bytes))

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(root: Path, mebibytes: int = 192) -> Iterator[SmallDisk]:
    """A disk of its own mounted at `root`; the test is skipped where nobody may mount one."""
    root.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "anerf-test"]
    try:
        subprocess.run(["mount", *options, root], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here ({error}): run the tests as root to have this one")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


class S3:
    """A store with a bucket, at `uri`, that can be frozen."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.options = f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        self.uri = f"s3://{BUCKET}/logs{self.options}"

    def freeze(self) -> None:
        """Take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def s3_store() -> Iterator[S3]:
    """A fresh S3 on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.put(f"http://127.0.0.1:{port}/{BUCKET}").status_code == 200
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield S3(process, port)
    finally:
        process.kill()
        process.wait()

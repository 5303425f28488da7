"""A Ray head node of our own, on this machine and for this machine."""

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from actors.names import PRELOADED
from anerf.errors import StackError
from cluster.processes import Process, free_port, listens, start, tail
from serve_apps.front import CALLBACK, CALLBACK_VARIABLE

_GCS_PORT = 6379
_AGENT_PORT = 52_365
_CLIENT_PORT = 10_001
_READY_TIMEOUT_S = 90.0
_LONGEST_TEMP_DIR = 30
"""Characters: Ray puts Unix sockets below it, and their paths end at 107."""


def make_run_dir() -> Path:
    """A private folder with a short path for a stack's token, logs and Ray session."""
    base = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="anerf-", dir=base if len(base) <= _LONGEST_TEMP_DIR - 16 else "/tmp")
    )


def make_token(run_dir: Path) -> Path:
    """A new secret that everybody must show who wants to talk to this Ray, readable by its owner alone."""
    path = run_dir / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


def start_head(
    run_dir: Path, token: Path, log: Path, num_cpus: int | None, dashboard_port: int, warm: bool = False
) -> tuple[Process, str, int]:
    """Start Ray's head and wait until it answers; `warm`: its workers import what jobs need when they start.

    Returns:
        Its process, its address (host:port), and the port of its dashboard.

    Raises:
        StackError: it does not come up.
    """
    port, dashboard_port = free_port(_GCS_PORT), free_port(dashboard_port)
    scripts = Path(sys.executable).parent
    command = [
        str(scripts / "ray"),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--log-color=false",
    ]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={run_dir / 'ray'}"]
    command += [
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard_port}",
    ]
    command += [
        f"--ray-client-server-port={free_port(_CLIENT_PORT)}",
        f"--dashboard-agent-listen-port={free_port(_AGENT_PORT)}",
    ]
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # There is no other node that could take over: waiting for it would only delay the end.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        CALLBACK_VARIABLE: CALLBACK,
        # `ray job submit -- anerf run ...` finds our commands.
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if warm:
        environment["RAY_preload_python_modules"] = ",".join(PRELOADED)
    process = start(command, run_dir, log, environment)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not (listens(port) and listens(dashboard_port)):
        if not process.is_alive():
            raise StackError(f"Ray ended while starting: {tail(log)}")
        if time.monotonic() > deadline:
            raise StackError(f"Ray does not answer after {_READY_TIMEOUT_S:g} s: {tail(log)}")
        time.sleep(0.1)
    return process, f"127.0.0.1:{port}", dashboard_port

"""Processes of a stack on this machine (Linux): who they are, whether they live, how they end.

Process ids are reused, and whoever signals one from a file may hit a stranger. A process belongs to a stack
when its environment carries the stack's mark, which children inherit. Some of Ray's overwrite their
environment with a title: those are known by the session that a process of the stack leads, and by a file in
its folder that they hold open. No other process is ever signalled.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anerf.errors import StackError

MARK = "ANERF_STACK"
"""Environment variable with the folder of the stack that a process belongs to."""
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process, and not another one that later got its id."""

    pid: int
    started_ticks: int
    """Clock ticks from boot to its start."""

    def is_alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _started_ticks(self.pid) == self.started_ticks


def start(command: Sequence[str], mark: Path, log: Path, environment: Mapping[str, str]) -> Process:
    """Start a long-lived process in a session of its own, with its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment, MARK: str(mark)},
        )
    started = _started_ticks(child.pid)
    if started is None:
        raise StackError(f"{command[0]} ended as soon as it was started: {tail(log)}")
    return Process(child.pid, started)


def members(mark: Path, leaders: Iterable[Process]) -> list[Process]:
    """The living processes of a stack, this one excepted.

    Args:
        mark: The stack's folder.
        leaders: Processes that were started with `start`, alive or not.
    """
    sessions = {leader.pid for leader in leaders}
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        # Processes come and go while we look, and others' may not be looked into.
        with contextlib.suppress(OSError):
            pid = int(folder.name)
            ours = _has_mark(folder, mark) or (os.getsid(pid) in sessions and _uses(folder, mark))
            if ours and (started := _started_ticks(pid)) is not None:
                found.append(Process(pid, started))
    return found


def stop(mark: Path, leaders: Iterable[Process], grace_s: float) -> int:
    """End all processes of a stack: ask its leaders, and after `grace_s` make an end of whoever is left.

    Returns:
        How many had to be ended by force.

    Raises:
        StackError: one survived even that.
    """
    leaders = tuple(leaders)
    ours = members(mark, leaders)
    for leader in leaders:
        if leader in ours:
            _signal(leader, signal.SIGTERM)
    if _wait_gone(mark, leaders, grace_s):
        return 0
    left = members(mark, leaders)
    for _ in range(3):  # a dying one may just have had a child
        for process in members(mark, leaders):
            _signal(process, signal.SIGKILL)
        if _wait_gone(mark, leaders, 5.0):
            return len(left)
    survivors = ", ".join(str(process.pid) for process in members(mark, leaders))
    raise StackError(f"processes {survivors} do not end: look at them with `ps -fp` and end them by hand")


def free_port(wanted: int, host: str = "127.0.0.1", tries: int = 50) -> int:
    """`wanted`, or the next port after it that nobody listens on.

    Raises:
        StackError: none of the next `tries` ports is free.
    """
    for port in range(wanted, min(wanted + tries, 65_536)):
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                return port
    raise StackError(f"no free port from {wanted} to {wanted + tries - 1} on {host}: name another one")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(_family(host)) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def tail(log: Path, lines: int = 3) -> str:
    """The end of a log, for an error message."""
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " | ".join(text[-lines:]) or f"see {log}"


def _started_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields after it are state, ppid, ...
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _signal(process: Process, number: signal.Signals) -> None:
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _has_mark(folder: Path, mark: Path) -> bool:
    return f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")


def _uses(folder: Path, mark: Path) -> bool:
    return any(fd.readlink().is_relative_to(mark) for fd in (folder / "fd").iterdir())


def _wait_gone(mark: Path, leaders: Sequence[Process], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while members(mark, leaders):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

"""Memory and CPU time of the Ray that this process started, by who takes it (Linux)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

Role = Literal["coordinator", "experts", "renderers", "ray"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def roles() -> dict[int, Role]:
    """The session's processes: this one, those with experts or a renderer in them, the rest Ray's own."""
    session = os.environ["RAY_AUTH_TOKEN_PATH"].rpartition("/")[0]
    lines = {pid: line for pid in _pids() if (line := _read(pid, "cmdline"))}
    raylets = {pid for pid, line in lines.items() if "raylet" in line and session in line}
    found: dict[int, Role] = {}
    for pid, line in lines.items():
        child = _stat(pid)[1:2] and int(_stat(pid)[1]) in raylets
        if pid == os.getpid():
            found[pid] = "coordinator"
        elif child and line.startswith(("ray::ExpertActor", "ray::SimulatedExperts")):
            found[pid] = "experts"
        elif child and line.startswith("ray::ServeReplica:render:renderer"):
            found[pid] = "renderers"
        elif child or session in line:
            found[pid] = "ray"
    return found


def memory_mib(of: Mapping[int, Role]) -> dict[Role, float]:
    """Memory of these processes (PSS)."""
    found = dict.fromkeys(get_args(Role), 0.0)
    for pid, role in of.items():
        for line in _read(pid, "smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                found[role] += int(line.split()[1]) / 1024
    return found


def cpu_s(of: Mapping[int, Role]) -> dict[Role, float]:
    """CPU time that these processes have taken since they started, to a clock tick (10 ms)."""
    found = dict.fromkeys(get_args(Role), 0.0)
    for pid, role in of.items():
        if stat := _stat(pid):
            found[role] += (int(stat[11]) + int(stat[12])) / _TICKS
    return found


def machine_cpu_s() -> float:
    """CPU time that all processes of the machine have taken since it started, stolen time too."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, (_PROC / "stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _pids() -> list[int]:
    return [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdecimal()]


def _stat(pid: int) -> list[str]:
    """The fields behind the process's title: its state first, then its parent."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    """Empty where the process has just ended, or is not ours to look into."""
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""

"""What a process needed of memory."""

from pathlib import Path


def peak_mb() -> float:
    """The most this process ever held in memory, in MB (10^6 bytes).

    Not `getrusage`: what a process held before it called exec, as a copy of its parent, counts there too.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1.024e-3

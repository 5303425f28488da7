"""Under which conditions something was measured: without them a time says nothing."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from anerf.field.diagnosis import examine_machine
from anerf.field.library import kernel_variants, kernels
from anerf.field.threads import n_threads

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Conditions:
    """The machine, the software and how busy it was: `load` is the 1-minute average, 1 a busy core.

    `load_after` includes the measurement itself.
    """

    cpu: str
    cores: int
    threads: int
    kernels: str
    torch: str
    torch_cpu_capability: str
    cuda_devices: tuple[str, ...]
    load_before: float
    load_after: float


def load_average() -> float:
    """Runnable processes, averaged over the last minute."""
    return os.getloadavg()[0]


def conditions(load_before: float) -> Conditions:
    """What holds now; `load_before` was read before the measurement.

    Raises:
        BackendError: the kernels are not built or do not run here.
    """
    kernels()
    machine = examine_machine()
    return Conditions(
        cpu=_cpu_name(),
        cores=machine.cpus,
        threads=n_threads(),
        kernels=next(variant.name for variant in kernel_variants() if variant.usable),
        torch=machine.torch_version,
        torch_cpu_capability=machine.cpu_capability,
        cuda_devices=tuple(device.name for device in machine.devices),
        load_before=load_before,
        load_after=load_average(),
    )


def _cpu_name() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

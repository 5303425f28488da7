"""What this machine has for computing a field, which backends work on it, and what the others lack."""

import os
from dataclasses import dataclass

import torch

from anerf.errors import BackendError
from anerf.field.library import kernel_variants, kernels
from anerf.field.tcnn_modules import built_capabilities, cuda_problem, load_tinycudann


@dataclass(frozen=True)
class BackendState:
    """Whether a backend works here: how, or why not and the remedy."""

    name: str
    usable: bool
    remark: str


@dataclass(frozen=True)
class CudaDevice:
    """A GPU that torch sees; its compute capability as 86 for 8.6."""

    name: str
    capability: int
    memory_gib: float


@dataclass(frozen=True)
class Machine:
    """What backends run on. `cpu_capability` is the instruction set that torch uses."""

    cpu_capability: str
    cpus: int
    torch_threads: int
    torch_version: str
    torch_cuda: str | None
    devices: tuple[CudaDevice, ...]


def examine_machine() -> Machine:
    """Look at the processor, torch and its CUDA devices."""
    devices = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        gib = round(found.total_memory / 2**30, 1)
        devices.append(CudaDevice(found.name, found.major * 10 + found.minor, gib))
    return Machine(
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        torch_threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        torch_cuda=torch.version.cuda,
        devices=tuple(devices),
    )


def examine_backends() -> list[BackendState]:
    """Try each backend's preconditions; nothing is computed."""
    return [_cpu(), _torch(), _tcnn()]


def _cpu() -> BackendState:
    try:
        variants = kernel_variants()
        kernels()
    except BackendError as error:
        return BackendState("cpu", False, str(error))
    taken = next(i for i, variant in enumerate(variants) if variant.usable)
    faster = "; ".join(f"not {v.name}: {v.reason}" for v in variants[:taken])
    return BackendState("cpu", True, f"kernels {variants[taken].name}" + (f" ({faster})" if faster else ""))


def _torch() -> BackendState:
    problem = cuda_problem()
    return BackendState("torch", True, f"on the CPU only: {problem}" if problem else "on the CPU and on CUDA")


def _tcnn() -> BackendState:
    try:
        load_tinycudann()
    except BackendError as error:
        return BackendState("tcnn", False, str(error))
    built = ", ".join(map(str, built_capabilities()))
    return BackendState("tcnn", True, f"tinycudann, built for compute capability {built}")

"""Which builds of the kernels exist: one library for each x86-64 level, one for any other machine."""

import platform
from dataclasses import dataclass
from pathlib import Path

KERNELS_ABI = 4
"""What `anerf_kernels_abi()` of a library that fits this code returns: see version.cpp."""

LIB_DIR = Path(__file__).parent / "lib"


@dataclass(frozen=True)
class Variant:
    """One build of the kernels.

    `level` is the least that torch must report as its CPU capability; `needs` are the CPU features without
    which a call would die of an illegal instruction, in the words of `torch.cpu.get_capabilities()`.
    """

    name: str
    level: str = "DEFAULT"
    needs: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the shared library."""
        return f"libanerf_{self.name}.so"


_V2 = ("popcnt", "ssse3", "sse4_1", "sse4_2")
_V3 = (*_V2, "avx2", "bmi", "bmi2", "f16c", "fma3", "lzcnt")
_V4 = (*_V3, "avx512_f", "avx512_bw", "avx512_cd", "avx512_dq", "avx512_vl")


def is_x86_64() -> bool:
    """Whether this Python runs on an x86-64 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")


def machine_variants() -> tuple[Variant, ...]:
    """The variants that are built on machines like this one, fastest first."""
    if is_x86_64():
        return (
            Variant("x86-64-v4", "AVX512", _V4),
            Variant("x86-64-v3", "AVX2", _V3),
            Variant("x86-64-v2", "DEFAULT", _V2),
        )
    return (Variant("generic"),)


def sanitized_variant() -> Variant:
    """The variant with address and undefined-behaviour checks: taken only by name, never in wheels."""
    return Variant("sanitized", needs=_V3 if is_x86_64() else ())

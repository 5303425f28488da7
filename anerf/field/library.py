"""Load the C++ kernels: the variant that suits this processor, checked, and said in the log."""

import ctypes
import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from anerf.errors import BackendError
from anerf.field.kernels.variants import KERNELS_ABI, LIB_DIR, Variant, machine_variants, sanitized_variant

log = logging.getLogger(__name__)

CHOICE = "ANERF_KERNELS"
"""Environment variable that takes a variant by name."""

_LEVELS = ("DEFAULT", "AVX2", "AVX512")
_REMEDY = "build it with `make kernels` in a checkout, or reinstall anerf"


@dataclass(frozen=True)
class KernelVariant:
    """One variant and what becomes of it here; `obstacle` says why it is not taken, None if it is."""

    name: str
    path: Path
    built: bool
    obstacle: str | None

    @property
    def taken(self) -> bool:
        """Whether `kernels` takes this one, built or not."""
        return self.obstacle is None

    @property
    def usable(self) -> bool:
        """Whether `kernels` takes this one and finds it."""
        return self.taken and self.built

    @property
    def reason(self) -> str:
        """Why it is usable or not, in a few words."""
        return self.obstacle or ("taken" if self.built else "not built")


@functools.cache
def kernels() -> ctypes.CDLL:
    """The library of the variant that suits this processor, or that ANERF_KERNELS names.

    Raises:
        BackendError: if that library is not built, does not load or is of another version of the sources.
    """
    variants = kernel_variants()
    variant = next((variant for variant in variants if variant.taken), None)
    if variant is None:
        obstacles = "; ".join(f"{variant.name}: {variant.obstacle}" for variant in variants)
        raise BackendError(f"no variant of the field's kernels runs on this processor ({obstacles})")
    if not variant.built:
        raise BackendError(f"the field's kernels {variant.path} are not there: {_REMEDY}")
    library = _load(variant.path)
    log.info("field kernels %s", variant.name)
    return library


def kernel_variants() -> list[KernelVariant]:
    """Every variant for machines like this one, fastest first, and which one `kernels` takes.

    Raises:
        BackendError: if ANERF_KERNELS names none of them.
    """
    known = (*machine_variants(), sanitized_variant())
    named = os.environ.get(CHOICE) or None
    if named is not None and named not in {variant.name for variant in known}:
        raise BackendError(
            f"{CHOICE}={named!r} names no variant of the field's kernels: "
            f"use one of {[variant.name for variant in known]}, or leave it unset"
        )
    listed: list[KernelVariant] = []
    for variant in known:
        path = LIB_DIR / variant.file_name
        before = next((other.name for other in listed if other.taken), None)
        obstacle = _not_wanted(variant, named, before) or _cannot_run(variant, by_name=named is not None)
        listed.append(KernelVariant(variant.name, path, path.is_file(), obstacle))
    return listed


def _not_wanted(variant: Variant, named: str | None, before: str | None) -> str | None:
    if named is not None:
        return None if variant.name == named else f"{CHOICE} names {named}"
    if variant == sanitized_variant():
        return f"only taken by {CHOICE}"
    return None if before is None else f"{before} is faster"


def _cannot_run(variant: Variant, by_name: bool) -> str | None:
    """Why the variant must not be loaded here; `by_name` skips the limit that torch was given."""
    features = torch.cpu.get_capabilities()
    if missing := [name for name in variant.needs if not features.get(name, False)]:
        return f"the processor lacks {', '.join(missing)}"
    # Lower than what the processor has where ATEN_CPU_CAPABILITY limits torch: the same limit holds for us.
    reported = torch.backends.cpu.get_cpu_capability()
    level = _LEVELS.index(reported) if reported in _LEVELS else 0
    if level < _LEVELS.index(variant.level) and not by_name:
        return f"torch's CPU capability is {reported}, below {variant.level}"
    return None


def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        abi = library.anerf_kernels_abi()
    except (OSError, AttributeError) as error:
        raise BackendError(f"the field's kernels {path} do not load ({error}): {_REMEDY}") from error
    if abi != KERNELS_ABI:
        raise BackendError(
            f"the field's kernels {path} are of version {abi}, this anerf needs {KERNELS_ABI}: {_REMEDY}"
        )
    return library

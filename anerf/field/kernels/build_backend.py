"""The PEP 517 backend of this project: setuptools, with the kernels as its compiled part.

pyproject.toml names this module and its two commands. Where no C++ compiler is installed it asks for the
package `ziglang`, which contains one.
"""

from pathlib import Path
from typing import Any

import setuptools
from setuptools import build_meta
from setuptools.command.bdist_wheel import bdist_wheel

from anerf.field.kernels.build import build_kernels, installed_compiler, kernel_sources
from anerf.field.kernels.variants import LIB_DIR, machine_variants

build_wheel = build_meta.build_wheel
build_editable = build_meta.build_editable
build_sdist = build_meta.build_sdist
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist

_ROOT = Path(__file__).parents[3]
_ZIGLANG = "ziglang>=0.13"

_Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """What building a wheel needs beyond pyproject.toml's list."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compiler_requirement()]


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    """What an editable installation needs beyond pyproject.toml's list."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compiler_requirement()]


def _compiler_requirement() -> list[str]:
    return [_ZIGLANG] if installed_compiler() is None else []


class BuildKernels(setuptools.Command):
    """Takes the place of `build_ext`: libraries for ctypes instead of Python extension modules.

    The attributes and the `get_*` methods are those of setuptools' protocol `SubCommand`.
    """

    description = "compile the field's C++ kernels"
    user_options = [("build-lib=", "b", "directory for compiled libraries")]  # noqa: RUF012
    boolean_options: list[str] = []  # noqa: RUF012

    def initialize_options(self) -> None:
        """Nothing is known yet."""
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        """Take the build directory from `build`."""
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        """Compile into the build directory, or in place for an editable installation."""
        build_kernels(out_dir=LIB_DIR if self.editable_mode else self._built_dir())

    def _built_dir(self) -> Path:
        return Path(self.build_lib or "") / LIB_DIR.relative_to(_ROOT)

    def get_source_files(self) -> list[str]:
        """The C++ sources, for the sdist."""
        return [str(path.relative_to(_ROOT)) for path in kernel_sources()]

    def get_outputs(self) -> list[str]:
        """The libraries in the build directory."""
        return [str(self._built_dir() / variant.file_name) for variant in machine_variants()]

    def get_output_mapping(self) -> dict[str, str]:
        """From library to source file: none, since no library comes from one file."""
        return {}


class CtypesWheel(bdist_wheel):
    """A wheel for any Python 3 on this platform: the libraries use no Python interface."""

    def get_tag(self) -> tuple[str, str, str]:
        """Interpreter, binary interface, platform."""
        return "py3", "none", super().get_tag()[2]

"""Compile the kernels: every `*.cpp` beside this file into one shared library for each variant.

`python -m anerf.field.kernels.build [VARIANT ...]` builds in place; `build_backend` builds for wheels.
"""

import argparse
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from anerf.errors import BackendError
from anerf.field.kernels.variants import LIB_DIR, Variant, is_x86_64, machine_variants, sanitized_variant

log = logging.getLogger(__name__)

SOURCE_DIR = Path(__file__).parent

# No -ffast-math: when a library is linked with it, gcc adds start-up code that sets flush-to-zero for the
# whole process. These are the parts of it that the kernels want.
_MATH = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast")
_COMPILE = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", *_MATH, "-Wall", "-Wextra", "-c")
_LINK = ("-shared", "-pthread")
_CHECKS = ("-fsanitize=address,undefined", "-fsanitize=float-cast-overflow", "-fno-sanitize-recover=all")
# The C++ runtime inside the library and its symbols hidden: neither the machine's nor torch's matters then.
_STATIC_RUNTIME = ("-static-libgcc", "-static-libstdc++", "-Wl,--exclude-libs,ALL")
# zig's runtime is inside anyway, with megabytes of debug information.
_ZIG_RUNTIME = ("-Wl,--strip-debug",)
_PROBE = "#include <string>\nstd::string probe(int n) { return std::to_string(n); }\n"


def kernel_sources() -> list[Path]:
    """The sources, headers included, sorted."""
    return sorted(path for path in SOURCE_DIR.iterdir() if path.suffix in (".cpp", ".hpp"))


def installed_compiler() -> tuple[str, ...] | None:
    """The compiler that the user names in CXX, else the first on the PATH, else None."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return tuple(named)
    return next(((name,) for name in ("c++", "g++", "clang++") if shutil.which(name)), None)


def choose_compiler() -> tuple[str, ...]:
    """The installed compiler, else the one inside the Python package `ziglang`.

    Raises:
        BackendError: if there is neither.
    """
    compiler = installed_compiler()
    if compiler is not None:
        return compiler
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++")
    raise BackendError(
        "no C++ compiler for the field's kernels: install g++ 11, clang++ 12 or newer, "
        "or the Python package ziglang, or name a compiler in the environment variable CXX"
    )


def compile_command(compiler: Sequence[str], variant: Variant, source: Path, target: Path) -> list[str]:
    """The command that compiles one source for one variant into the object file `target`."""
    if variant == sanitized_variant():
        mode = ["-O1", "-g", "-fno-omit-frame-pointer", *_CHECKS]
        level = "x86-64-v3" if is_x86_64() else None
    else:
        mode = ["-O3"]
        level = variant.name if is_x86_64() else None
    if _is_zig(compiler):
        # Unless told otherwise it compiles for the very processor that it runs on.
        mode.append(f"-mcpu={level.replace('-', '_') if level else 'baseline'}")
    elif level:
        mode.append(f"-march={level}")
    return [*compiler, *_COMPILE, *mode, str(source), "-o", str(target)]


def link_command(
    compiler: Sequence[str], variant: Variant, objects: Sequence[Path], target: Path, runtime: Sequence[str]
) -> list[str]:
    """The command that links a variant's objects into the library `target`.

    `runtime` says how the C++ runtime is linked. zig compiles that itself the first time, which takes a
    minute: the same one for all variants.
    """
    mode = _CHECKS if variant == sanitized_variant() else runtime
    base = ["-mcpu=baseline"] if _is_zig(compiler) else []
    return [*compiler, *_LINK, *base, *mode, *map(str, objects), "-o", str(target)]


def _is_zig(compiler: Sequence[str]) -> bool:
    return any(Path(word).name in ("zig", "ziglang") for word in compiler)


def build_kernels(variants: Sequence[Variant] | None = None, out_dir: Path = LIB_DIR) -> list[Path]:
    """Build the variants (this machine's by default) into `out_dir`, all of them or none.

    Raises:
        BackendError: if there is no compiler, or it refuses the sources; the text has its words.
    """
    variants = machine_variants() if variants is None else variants
    units = [path for path in kernel_sources() if path.suffix == ".cpp"]
    compiler = choose_compiler()
    out_dir.mkdir(parents=True, exist_ok=True)
    libraries = [out_dir / variant.file_name for variant in variants]
    # Beside and then renamed: a running process that has the old library mapped keeps it whole.
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".build-") as temporary:
        work_dir = Path(temporary)
        objects = {v: [work_dir / f"{v.name}-{unit.stem}.o" for unit in units] for v in variants}
        runtime = _runtime_flags(compiler, work_dir)
        _run_all(
            compile_command(compiler, variant, unit, target)
            for variant in variants
            for unit, target in zip(units, objects[variant], strict=True)
        )
        _run_all(
            link_command(compiler, variant, objects[variant], work_dir / variant.file_name, runtime)
            for variant in variants
        )
        for library in libraries:
            (work_dir / library.name).replace(library)
    for library in libraries:
        log.info("built %s (%d kB)", library, library.stat().st_size // 1000)
    return libraries


def _runtime_flags(compiler: Sequence[str], work_dir: Path) -> tuple[str, ...]:
    """Flags that put the C++ runtime into the library, where this compiler has a static one."""
    if _is_zig(compiler):
        return _ZIG_RUNTIME
    source = work_dir / "probe.cpp"
    source.write_text(_PROBE, encoding="utf-8")
    command = [*compiler, "-fPIC", *_LINK, *_STATIC_RUNTIME, str(source), "-o", str(work_dir / "probe.so")]
    return _STATIC_RUNTIME if _start(command).returncode == 0 else ()


def _run_all(commands: Iterable[Sequence[str]]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, commands))


def _run(command: Sequence[str]) -> None:
    done = _start(command)
    if done.returncode != 0:
        raise BackendError(
            f"compiling the field's kernels failed (status {done.returncode}):\n"
            f"{shlex.join(command)}\n{done.stdout.strip()}"
        )
    if done.stdout.strip():
        log.warning("%s\n%s", shlex.join(command), done.stdout.strip())


def _start(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise BackendError(f"the C++ compiler {command[0]!r} does not start ({error}): see CXX") from error


def main() -> int:
    """Build in place what the command line names."""
    known = {variant.name: variant for variant in (*machine_variants(), sanitized_variant())}
    parser = argparse.ArgumentParser(prog="python -m anerf.field.kernels.build", description=main.__doc__)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"among {', '.join(known)}")
    names = parser.parse_args().variants
    if unknown := set(names) - set(known):
        parser.error(f"no variant {sorted(unknown)}: use some of {list(known)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        build_kernels([known[name] for name in names] or None)
    except BackendError as error:
        log.error("%s", error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

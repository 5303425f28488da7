"""How the C++ kernels are built, and which of their libraries is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anerf.errors import BackendError
from anerf.field import library
from anerf.field.kernels.build import build_kernels, compile_command, kernel_sources, link_command
from anerf.field.kernels.variants import (
    KERNELS_ABI,
    LIB_DIR,
    Variant,
    is_x86_64,
    machine_variants,
    sanitized_variant,
)

ROOT = Path(__file__).parents[2]
V3 = Variant("x86-64-v3")
ZIG = ("python", "-m", "ziglang", "c++")

x86_64 = pytest.mark.skipif(not is_x86_64(), reason="the variants of x86-64 exist on x86-64 only")


def _python(code: str, *flags: str, cwd: Path = ROOT, **env: str) -> str:
    """Standard output of the code in a Python of its own that finds this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd,
        env=environment,
        check=True,
        text=True,
        capture_output=True,
    )
    return done.stdout


@pytest.fixture
def empty_lib_dir(tmp_path, monkeypatch):
    """The loader looks into an empty folder and has loaded nothing."""
    monkeypatch.delenv("ANERF_KERNELS", raising=False)
    monkeypatch.setattr(library, "LIB_DIR", tmp_path)
    library.kernels.cache_clear()
    yield tmp_path
    library.kernels.cache_clear()


def test_the_library_is_built_and_answers():
    assert library.kernels().anerf_kernels_abi() == KERNELS_ABI
    assert library.kernels() is library.kernels()
    assert [variant.reason for variant in library.kernel_variants() if variant.usable] == ["taken"]


@x86_64
@pytest.mark.parametrize(
    ("limit", "reported", "taken"),
    [("default", "DEFAULT", "x86-64-v2"), ("avx2", "AVX2", "x86-64-v3"), ("avx512", "AVX512", "x86-64-v4")],
)
def test_the_variant_follows_the_capability_that_torch_reports(limit, reported, taken):
    code = """
import json, torch
from anerf.field.library import kernel_variants
print(json.dumps([torch.backends.cpu.get_cpu_capability(), {v.name: v.obstacle for v in kernel_variants()}]))
"""
    level, obstacles = json.loads(_python(code, ATEN_CPU_CAPABILITY=limit, ANERF_KERNELS=""))
    if level != reported or "lacks" in (obstacles[taken] or ""):
        pytest.skip(f"this processor has no {reported}")
    assert [name for name, obstacle in obstacles.items() if obstacle is None] == [taken]
    assert obstacles["sanitized"] == "only taken by ANERF_KERNELS"


@x86_64
def test_a_variant_is_not_taken_on_a_processor_that_lacks_what_it_needs(monkeypatch):
    features = {**library.torch.cpu.get_capabilities(), "avx512_cd": False, "fma3": False}
    monkeypatch.delenv("ANERF_KERNELS", raising=False)
    monkeypatch.setattr(library.torch.cpu, "get_capabilities", lambda: features)
    v4, v3, v2, _ = library.kernel_variants()
    assert "avx512_cd" in v4.obstacle
    assert v3.obstacle == "the processor lacks fma3"
    assert v2.taken
    monkeypatch.setenv("ANERF_KERNELS", "x86-64-v3")
    assert not any(variant.taken for variant in library.kernel_variants())
    with pytest.raises(BackendError, match="x86-64-v3: the processor lacks fma3"):
        library.kernels.__wrapped__()


def test_a_variant_can_be_named(monkeypatch):
    slowest = machine_variants()[-1].name
    monkeypatch.setenv("ANERF_KERNELS", slowest)
    assert [variant.name for variant in library.kernel_variants() if variant.taken] == [slowest]
    monkeypatch.setenv("ANERF_KERNELS", "fastest")
    with pytest.raises(BackendError, match=r"ANERF_KERNELS='fastest' names no variant.*sanitized"):
        library.kernel_variants()


def test_a_missing_library_is_named_with_the_remedy(empty_lib_dir):
    taken = next(variant for variant in library.kernel_variants() if variant.taken)
    assert (taken.built, taken.usable, taken.reason) == (False, False, "not built")
    with pytest.raises(BackendError, match=r"libanerf_.*\.so are not there.*make kernels") as caught:
        library.kernels()
    assert str(empty_lib_dir / f"libanerf_{taken.name}.so") in str(caught.value)


def test_a_damaged_library_is_refused(empty_lib_dir):
    for variant in machine_variants():
        (empty_lib_dir / variant.file_name).write_bytes(b"not a library")
    with pytest.raises(BackendError, match=r"\.so do not load .*make kernels"):
        library.kernels()


def test_a_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr(library, "KERNELS_ABI", 999)
    with pytest.raises(BackendError, match=f"are of version {KERNELS_ABI}, this anerf needs 999"):
        library.kernels.__wrapped__()


@x86_64
def test_each_compiler_is_told_the_processor_in_its_own_words():
    source, target = Path("a.cpp"), Path("a.o")
    gcc = compile_command(("g++",), V3, source, target)
    assert gcc[0] == "g++"
    assert gcc[-3:] == ["a.cpp", "-o", "a.o"]
    assert {"-O3", "-march=x86-64-v3", "-fvisibility=hidden", "-ffp-contract=fast"} < set(gcc)
    zig = compile_command(ZIG, V3, source, target)
    assert "-mcpu=x86_64_v3" in zig
    assert "-march=x86-64-v3" not in zig
    linked = link_command(ZIG, V3, [target], Path("a.so"), ["-s"])
    assert linked == [*ZIG, "-shared", "-pthread", "-mcpu=baseline", "-s", "a.o", "-o", "a.so"]


def test_denormals_stay_alive():
    # Linked with -ffast-math (or what implies it), the library would flush them in the whole process.
    for variant in (*machine_variants(), sanitized_variant()):
        command = [
            *compile_command(("c++",), variant, Path("a.cpp"), Path("a.o")),
            *link_command(("c++",), variant, [Path("a.o")], Path("a.so"), []),
        ]
        assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"} & set(command)
    tiny = "import torch; x = torch.full((9,), 1e-40); from anerf.field.library import kernels; kernels()"
    assert _python(f"{tiny}; print((x * 0.5).max().item() > 0)") == "True\n"


def test_the_sanitized_variant_checks_and_is_no_wheels():
    command = compile_command(("g++",), sanitized_variant(), Path("a.cpp"), Path("a.o"))
    assert {"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1"} < set(command)
    assert "-O3" not in command
    assert sanitized_variant() not in machine_variants()


def test_a_failing_compiler_is_quoted_and_leaves_the_old_library(tmp_path, monkeypatch):
    compiler = tmp_path / "picky++"
    compiler.write_text("#!/bin/sh\necho 'this will not do'\nexit 3\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    old = tmp_path / machine_variants()[0].file_name
    old.write_bytes(b"old")
    with pytest.raises(BackendError, match=r"(?s)status 3.*picky\+\+ -std=c\+\+17 .*this will not do"):
        build_kernels(out_dir=tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([compiler, old])
    assert old.read_bytes() == b"old"
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendError, match="'no-such-compiler' does not start"):
        build_kernels(out_dir=tmp_path)


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_the_build_asks_for_ziglang_only_where_there_is_no_compiler(tmp_path, hook):
    code = (
        f"import json; from anerf.field.kernels.build_backend import {hook} as ask; print(json.dumps(ask()))"
    )
    env = {"cwd": tmp_path, "PATH": str(tmp_path), "CXX": ""}
    assert json.loads(_python(code, **env).splitlines()[-1]) == ["ziglang>=0.13"]
    (tmp_path / "c++").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "c++").chmod(0o755)
    assert json.loads(_python(code, **env).splitlines()[-1]) == []


def test_building_needs_no_installed_package():
    # pip imports this in an environment that has setuptools at most.
    _python("import anerf.field.kernels.build", "-S", "-E", "-s")


def test_the_sources_lie_where_the_build_looks():
    assert LIB_DIR.parent / "version.cpp" in kernel_sources()

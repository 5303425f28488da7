"""`anerf doctor`: its words, its JSON and its exit status."""

import json
import subprocess
import sys

import pytest

from anerf.cli.doctor import doctor
from anerf.errors import BackendError
from anerf.field import diagnosis
from anerf.field.diagnosis import CudaDevice, Machine
from anerf.field.library import kernel_variants


def cpu_only(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_it_tells_what_works_and_what_the_others_lack(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    cpu_only(monkeypatch)
    doctor()
    shown = capsys.readouterr().out
    lines = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    taken = next(variant.name for variant in kernel_variants() if variant.usable)
    assert "yes" in lines["cpu"]
    assert f"kernels {taken}" in lines["cpu"]
    assert "yes" in lines["torch"]
    assert "on the CPU only" in lines["torch"]
    assert "no" in lines["tcnn"]
    assert "needs a CUDA device" in lines["tcnn"]
    assert "threads" in shown


def test_a_slower_variant_says_why_not_the_faster_one(capsys, monkeypatch):
    *_, slowest, _sanitized = kernel_variants()
    monkeypatch.setenv("ANERF_KERNELS", slowest.name)
    doctor(as_json=True)
    remark = json.loads(capsys.readouterr().out)["backends"][0]["remark"]
    assert remark.startswith(f"kernels {slowest.name}")
    assert all(f"not {v.name}: ANERF_KERNELS names {slowest.name}" in remark for v in kernel_variants()[:-2])


def test_json_holds_the_same(capsys, monkeypatch):
    monkeypatch.setenv("ANERF_KERNELS", "i386")
    cpu_only(monkeypatch)
    doctor(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(b["name"], b["usable"]) for b in found["backends"]] == [
        ("cpu", False),
        ("torch", True),
        ("tcnn", False),
    ]
    assert "ANERF_KERNELS='i386' names no variant" in found["backends"][0]["remark"]
    assert found["machine"]["torch_threads"] >= 1


def test_gpus_are_listed(capsys, monkeypatch):
    machine = Machine("AVX2", 4, 4, "2.13.0", "13.0", (CudaDevice("Some GPU [x]", 86, 23.7),))
    monkeypatch.setattr(diagnosis, "examine_machine", lambda: machine)
    doctor()
    assert "Some GPU [x], compute capability 86, 23.7 GiB" in capsys.readouterr().out


def test_it_fails_where_nothing_works(capsys, monkeypatch):
    broken = [diagnosis.BackendState("torch", False, "for the test")]
    monkeypatch.setattr(diagnosis, "examine_backends", lambda: broken)
    with pytest.raises(BackendError, match="no field backend works here") as refused:
        doctor()
    assert refused.value.exit_status == 1
    assert "for the test" in capsys.readouterr().out


def test_its_help_does_not_wait_for_torch():
    code = (
        "import sys, cluster.cli; sys.argv = ['anerf', 'doctor', '--help']\n"
        "try: cluster.cli.main()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "which field backends work" in done.stdout

"""`anerf bench field`: every figure is there, positive and consistent. How fast says nothing in a test."""

import json
import subprocess
import sys

import pytest
import torch

from anerf.bench import field_speed, floor, optimiser_cost
from anerf.bench.batches import TableShape
from anerf.bench.field_speed import FieldPlan
from anerf.bench.optimiser_cost import OptimiserPlan
from anerf.cli.bench_field import bench_field
from anerf.field.threads import n_threads

SHAPES = (TableShape(4, 2, 12), TableShape(2, 4, 12))
THREADS = field_speed.thread_counts()


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(floor, "_REPEATS", 1 << 12)
    monkeypatch.setattr(floor, "_ACCESSES", 1 << 12)
    monkeypatch.setattr(field_speed, "QUICK", FieldPlan(SHAPES, 64, 256, 128, rounds=2, at_least_s=0.0))
    monkeypatch.setattr(optimiser_cost, "QUICK", OptimiserPlan(SHAPES, 64, rounds=2))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_json_holds_all_figures_and_they_agree(capsys):
    before = n_threads(), torch.get_num_threads()
    bench_field(quick=True, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["conditions"]["cpu"]
    assert found["conditions"]["kernels"]
    assert found["conditions"]["torch"] == torch.__version__
    assert found["conditions"]["load_before"] >= 0
    floors = {(row["table"], row["threads"]): row["floor"] for row in found["floors"]}
    assert set(floors) == {(shape.name, threads) for shape in SHAPES for threads in THREADS}
    assert {(row["batch"], row["n_samples"], row["backend"]) for row in found["field"]} == {
        ("small", 64, "cpu"), ("small", 64, "torch"), ("large", 256, "cpu"), ("large", 128, "torch"),
    }  # fmt: skip
    assert len(found["field"]) == 4 * len(floors)
    for row in found["field"]:
        for part in ("forward", "forward_backward"):
            of_floor, speed = floors[row["table"], row["threads"]][part], row[part]
            assert speed["ns"] > 0
            assert speed["floor_ns"] == pytest.approx(of_floor["networks_ns"] + of_floor["table_ns"])
            assert speed["ratio"] == pytest.approx(speed["ns"] / speed["floor_ns"])
    assert [row["table"] for row in found["optimiser"]] == [shape.name for shape in SHAPES]
    for row in found["optimiser"]:
        assert 0 < row["touched_share"] <= 1
        assert min(row["batch_ms"], row["step_touched_ms"], row["dense_adam_ms"]) > 0
    assert (n_threads(), torch.get_num_threads()) == before


def test_the_table_shows_floor_backends_and_optimiser(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    bench_field(quick=True)
    shown = capsys.readouterr().out
    assert all(shown.count(shape.name) == len(THREADS) + 1 for shape in SHAPES)
    for word in ("floor", "cpu", "torch", "forward + backward", "Adam on touched lines", "load"):
        assert word in shown


@pytest.mark.parametrize("name", ["bench field", "bench render"])
def test_its_help_does_not_wait_for_torch(name):
    code = (
        "import sys, cluster.cli; sys.argv = ['anerf', *sys.argv[1:]]\n"
        "try: cluster.cli.main()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *name.split(), "--help"], capture_output=True, text=True, check=True
    )
    assert "--json" in done.stdout


def test_the_group_lists_its_commands(capsys, monkeypatch):
    from cluster.cli import main

    monkeypatch.setattr(sys, "argv", ["anerf", "bench"])
    main()
    shown = capsys.readouterr().out
    assert "anerf bench field" in shown
    assert "anerf bench render" in shown
    assert "anerf jobs" not in shown

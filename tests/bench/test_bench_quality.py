"""The quality bench on the tiny scene: what it measures, what it leaves alone, what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from anerf.bench.quality import Effort, Flight, Place, adapted, trained
from anerf.bench.quality_plan import QualityPlan, measure_quality
from anerf.bench.quality_views import Views
from anerf.cli.bench_quality import bench_quality
from anerf.errors import InputError
from anerf.field.threads import kernel_threads
from anerf.jobs.spec import parse_job
from anerf.partition.regions import load_partition
from anerf.scene.pixels import open_pixels

SMALL = {
    "downscale": 1.0, "rays_per_step": 256, "ray_samples": 8, "n_levels": 4, "log2_hashmap_size": 12,
    "max_resolution": 128,
}  # fmt: skip
ADAPT = {"downscale": 1.0, "support_rays": 128, "ray_samples": 8}


def test_adapting_leaves_the_trained_experts_alone(tiny_scene):
    partition = load_partition(tiny_scene, "g22")
    job = parse_job(
        {"op": "train", "algo": "plain", "scene": str(tiny_scene.root), "color_space": "srgb", **SMALL}
    )
    place = Place.of(tiny_scene, partition, job)
    pixels = open_pixels(tiny_scene, 1.0)
    val = Views(tiny_scene, pixels, [i for i, f in enumerate(tiny_scene.frames) if f.split == "val"], 8)
    with kernel_threads(1):
        experts, effort = trained(place, job, 0.2, lambda text: None)
        assert effort.seconds > 0
        before = [expert.state.params.grid.detach().clone() for expert in experts]
        message = {
            "op": "eval",
            "scene": str(tiny_scene.root),
            "checkpoint_path": ".",
            "batch": "after",
            **ADAPT,
        }
        flight = Flight.of(place, parse_job(message), "after", val)
        point = adapted(place, experts, flight, 0.2, "adapt", 0)
    assert point.new is not None
    assert all(np.array_equal(a, e.state.params.grid.detach()) for a, e in zip(before, experts, strict=True))


def test_effort_counts_computing_and_not_waiting():
    effort = Effort()
    with kernel_threads(1), effort:
        sum(range(2_000_000))
    spent = effort.seconds
    assert spent > 0
    sum(range(2_000_000))
    assert effort.seconds == spent


def test_budgets_and_flights_that_are_not_there_are_refused_before_any_work(tiny_scene):
    plan = QualityPlan(tiny_scene.root, "g22", (60.0,), None, (10.0,), 1)
    with pytest.raises(InputError, match="at least one budget"):
        measure_quality(replace(plan, train_s=()), {}, {}, print)
    with pytest.raises(InputError, match="budgets above 0 s"):
        measure_quality(replace(plan, train_s=(0.0,), adapt_s=()), {}, {}, print)
    with pytest.raises(InputError, match="has no flight 'flood': it has"):
        measure_quality(replace(plan, batch="flood"), {}, {}, print)


def test_every_point_of_the_plan_is_measured_and_written(tiny_scene, tmp_path, capsys):
    fields, adapt = tmp_path / "train.json", tmp_path / "adapt.json"
    fields.write_text(json.dumps(SMALL))
    adapt.write_text(json.dumps(ADAPT))
    curve = tmp_path / "curve.csv"
    budgets = {"train_s": (0.3,), "adapt_s": (0.1,), "seeds": 1}
    files = {"job": fields, "adapt_job": adapt, "curve": curve}
    bench_quality(tiny_scene.root, partition="g22", as_json=True, also_at=(0.5,), **budgets, **files)
    points = json.loads(capsys.readouterr().out)
    kinds = ["train", "train, seen at 0.5", "before adapting", "adapt", "from nothing"]
    assert [point["what"] for point in points] == kinds
    train, smaller, before, adapting, nothing = points
    assert smaller["old"] != train["old"]
    assert train["new"] is None
    assert before["old"] == train["old"]
    assert adapting["new"] != before["new"]
    assert all(point["used_s"] > 0 and point["steps"] > 0 for point in (train, adapting, nothing))
    rows = list(csv.DictReader(curve.open(encoding="utf-8")))
    assert [row["what"] for row in rows] == [point["what"] for point in points]
    assert float(rows[0]["old_psnr_db"]) == pytest.approx(train["old"]["psnr_db"])
    assert rows[0]["new_psnr_db"] == ""
    with pytest.raises(InputError, match="holds no JSON object"):
        bench_quality(tiny_scene.root, job=curve)

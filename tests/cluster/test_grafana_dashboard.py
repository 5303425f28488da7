"""cluster/grafana/anerf.json asks only for metrics that exist, and shows each of them."""

import json
import re
from pathlib import Path

import pytest

from actors import metrics

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(?:ray_)?anerf_\w+")


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((ROOT / "cluster" / "grafana" / "anerf.json").read_text(encoding="utf-8"))


def queries(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_name_is_one_that_is_exported(dashboard):
    exported = {name for metric in metrics.ALL for name in metric.exported()}
    asked = set(NAME.findall(json.dumps(dashboard)))
    assert asked
    assert asked <= exported


def test_every_metric_has_a_panel(dashboard):
    asked = set(NAME.findall(" ".join(queries(dashboard))))
    assert all(asked & set(metric.exported()) for metric in metrics.ALL)


def test_labels_are_tags_of_their_metric(dashboard):
    tags = {name: set(metric.tags) for metric in metrics.ALL for name in metric.exported()}
    for query in queries(dashboard):
        (name,) = NAME.findall(query)
        labels = set(re.findall(r"(\w+)=~?\"", query))
        labels |= {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
        assert labels - {"le"} <= tags[name], query


def test_panels_do_not_overlap(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_names_are_prometheus_names_of_their_own():
    names = [metric.name for metric in metrics.ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"anerf_[a-z_]+", name) for name in names)
    assert all(metric.name.endswith("_total") for metric in metrics.ALL if metric.kind == "counter")
    assert all(bool(metric.boundaries) == (metric.kind == "histogram") for metric in metrics.ALL)


def test_operations_tell_every_metric():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    told = {row[1]: row[2] for row in re.finditer(r"^\| `ray_(anerf_\w+)` \| (\w+) \|", page, re.MULTILINE)}
    assert told == {metric.name: metric.kind for metric in metrics.ALL}

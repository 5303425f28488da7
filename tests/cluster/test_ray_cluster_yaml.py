"""ray_cluster.yaml is what Ray's cluster launcher reads, and says what anerf needs."""

import copy
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster():
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema():
    """Ray's own, found without importing Ray."""
    ray = importlib.util.find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    return json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())


def option(commands, name):
    """The value of `--name=...` in the `ray start` among the commands."""
    (start,) = [command for command in commands if "ray start" in command]
    found = re.search(rf"--{name}=(\S+)", start)
    return found and found[1]


def test_ray_accepts_the_file(cluster, schema):
    jsonschema.validate(cluster, schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("max_worker",), 4),
        (("available_node_types", "head", "resources", "CPU"), "0"),
        (("available_node_types", "gpu_worker", "instance"), "g5"),
        (("docker", "container"), "anerf"),
        (("setup_commands",), "pip install anerf"),
    ],
)
def test_the_schema_refuses_slips(cluster, schema, path, value):
    broken = copy.deepcopy(cluster)
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_the_head_gives_out_no_cpu(cluster):
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert option(cluster["head_start_ray_commands"], "num-cpus") == "0"


def test_workers_have_gpus_and_find_the_head(cluster):
    types = cluster["available_node_types"]
    workers = {name: kind for name, kind in types.items() if name != cluster["head_node_type"]}
    assert workers
    assert all(kind["resources"]["GPU"] >= 1 and kind["min_workers"] >= 1 for kind in workers.values())
    assert sum(kind["max_workers"] for kind in workers.values()) <= cluster["max_workers"]
    port = option(cluster["head_start_ray_commands"], "port")
    assert option(cluster["worker_start_ray_commands"], "address") == f"$RAY_HEAD_IP:{port}"


def test_the_image_has_the_ray_that_is_installed_here(cluster):
    wanted = ".".join(importlib.metadata.version("ray").split(".")[:2])
    assert re.fullmatch(rf"rayproject/ray:{re.escape(wanted)}\.\d+-py311-gpu", cluster["docker"]["image"])

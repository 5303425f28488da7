"""The manifest: what is written is read back, and nothing else is accepted."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anerf.checkpoint.manifest import (
    Manifest,
    PartitionStamp,
    SceneStamp,
    ShardRecord,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from anerf.checkpoint.resolve import expert_file
from anerf.checkpoint.shards import write_shard
from anerf.errors import CheckpointError

_finite = st.floats(allow_nan=False, allow_infinity=False)
_positive = st.floats(min_value=1e-6, max_value=1e9)
_vec3 = st.tuples(_finite, _finite, _finite)
_box = st.tuples(_vec3, _vec3).map(
    lambda pair: (
        (min(pair[0][0], pair[1][0]), min(pair[0][1], pair[1][1]), min(pair[0][2], pair[1][2])),
        (max(pair[0][0], pair[1][0]), max(pair[0][1], pair[1][1]), max(pair[0][2], pair[1][2])),
    )
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_scene = st.builds(
    SceneStamp,
    name=st.text(),
    root=st.text(),
    reference=_vec3,
    crs=st.text(),
    origin=_vec3,
    scale=_positive,
    aabb=_box,
    altitude_range_m=st.tuples(_finite, _finite),
)


@st.composite
def _manifests(draw: st.DrawFn) -> Manifest:
    n_experts = draw(st.integers(1, 4))

    def record(file: str) -> ShardRecord:
        digest = draw(st.text("0123456789abcdef", min_size=64, max_size=64))
        return ShardRecord(file, digest, draw(st.integers(1, 2**40)))

    experts = draw(st.sets(st.integers(0, n_experts - 1)))
    return Manifest(
        step=draw(st.integers(0, 10**7)),
        job_id=draw(st.text()),
        created_at="2025-06-01T12:00:00+00:00",
        scene=draw(_scene),
        partition=PartitionStamp(
            name=draw(st.text()),
            centroids=tuple(draw(_vec3) for _ in range(n_experts)),
            dims=draw(st.sampled_from([2, 3])),
            margin=draw(st.floats(1, 10)),
            boxes=tuple(draw(_box) for _ in range(n_experts)),
        ),
        field=draw(
            st.dictionaries(st.text(), st.booleans() | st.integers() | _finite | st.text(), max_size=3)
        ),
        grid_resolutions=tuple(draw(st.lists(st.integers(1, 2**20), max_size=4))),
        grid_scales=tuple(draw(st.lists(st.floats(0.5, 1e6), max_size=4))),
        shards={expert: record(f"experts/{expert}.safetensors") for expert in experts},
        shared=record("shared.safetensors") if draw(st.booleans()) else None,
        flights=tuple(draw(st.lists(st.text(), max_size=3))),
        seed=draw(st.integers(0, 2**31)),
        metrics=draw(st.dictionaries(st.text(), _finite, max_size=3)),
        job=draw(st.dictionaries(st.text(), _json, max_size=3)),
    )


def _example(**changes: Any) -> Manifest:
    manifest = Manifest(
        step=200,
        job_id="demo",
        created_at="2025-06-01T12:00:00+00:00",
        scene=SceneStamp(
            "block",
            "/s",
            (50.0, 7.0, 100.0),
            "EPSG:32632",
            (0.0,) * 3,
            40.0,
            ((-40.0,) * 3, (40.0,) * 3),
            (-2.0, 30.0),
        ),
        partition=PartitionStamp("g11", ((0.0, 0.0, 0.0),), 2, 1.1, (((-40.0,) * 3, (40.0,) * 3),)),
        field={"n_levels": 8},
        grid_resolutions=(16, 32),
        grid_scales=(15.0, 31.0),
        shards={0: ShardRecord("experts/0.safetensors", "0" * 64, 12)},
        shared=None,
        flights=("train",),
        seed=0,
        metrics={"psnr": 24.1},
        job={"op": "train"},
    )
    return dataclasses.replace(manifest, **changes)


def _text(**changes: Any) -> str:
    return json.dumps({**dataclasses.asdict(_example()), **changes})


def _written(step: Path, **changes: Any) -> Manifest:
    record = write_shard(expert_file(str(step), 0), {"x": torch.ones(2)}, {})
    manifest = _example(shards={0: record}, **changes)
    write_manifest(str(step), manifest)
    return manifest


@given(_manifests())
def test_any_manifest_survives_the_round_trip(manifest: Manifest) -> None:
    assert parse_manifest(json.dumps(dataclasses.asdict(manifest)), "here") == manifest


def test_written_then_read_is_the_same(tmp_path: Path) -> None:
    step = tmp_path / "step0000200"
    manifest = _written(step)
    assert read_manifest(str(step)) == manifest
    assert [path.name for path in step.iterdir() if path.name.startswith(".")] == []


def test_without_a_manifest_there_is_no_checkpoint(tmp_path: Path) -> None:
    step = tmp_path / "step0000200"
    write_shard(expert_file(str(step), 0), {"x": torch.ones(2)}, {})
    with pytest.raises(CheckpointError, match=r"No checkpoint at .*step0000200: manifest\.json is missing"):
        read_manifest(str(step))


def test_a_manifest_is_not_written_over_a_missing_or_short_shard(tmp_path: Path) -> None:
    step = tmp_path / "step0000200"
    with pytest.raises(CheckpointError, match=r"experts/0\.safetensors .* has 0 of 12 bytes"):
        write_manifest(str(step), _example())
    assert not (step / "manifest.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(CheckpointError, match="metrics that are not finite"):
        _written(tmp_path / "step0000200", metrics={"psnr": value})
    assert not (tmp_path / "step0000200" / "manifest.json").exists()


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("where", ['"psnr": 24.1', '"op": "train"'])
def test_numbers_that_are_not_finite_are_not_read(token: str, where: str) -> None:
    text = _text().replace(where, where.partition(":")[0] + f": {token}")
    assert token in text
    with pytest.raises(CheckpointError, match="damaged"):
        parse_manifest(text, "here")


@pytest.mark.parametrize("version", [0, 2, 1.5, "1", None, [1]])
def test_another_version_is_named(version: object) -> None:
    with pytest.raises(CheckpointError, match=r"has version .* reads version 1"):
        parse_manifest(_text(version=version), "here")


@pytest.mark.parametrize(
    "file",
    [
        "../0.safetensors",
        "/etc/passwd",
        "experts/../../0.safetensors",
        "experts/0.safetensors/../1.safetensors",
        "experts\\0.safetensors",
        "experts/00.safetensors",
        "experts/٣.safetensors",
        "experts/0.safetensors\n",
        "s3://bucket/0.safetensors",
        "experts/0.pt",
        "",
    ],
)
def test_shard_names_that_leave_the_folder_are_refused(file: str) -> None:
    shards = {"0": {"file": file, "sha256": "0" * 64, "n_bytes": 1}}
    with pytest.raises(CheckpointError, match="its manifest was altered"):
        parse_manifest(_text(shards=shards), "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1},
        {"step": "200"},
        {"step": 1.5},
        {"surprise": 1},
        {"seed": True},
        {"shards": {"0": {"file": "experts/0.safetensors", "sha256": "xyz", "n_bytes": 1}}},
        {"shards": {"0": {"file": "experts/0.safetensors", "sha256": "0" * 64, "n_bytes": 0}}},
        {"shards": {"-1": {"file": "experts/0.safetensors", "sha256": "0" * 64, "n_bytes": 1}}},
        {"metrics": {"psnr": "high"}},
        {"grid_resolutions": [0]},
        {"partition": None},
        {"scene": {**dataclasses.asdict(_example())["scene"], "aabb": [[0, 0, 1], [1, 1, 0]]}},
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        parse_manifest(_text(**changes), "here")


def test_a_missing_key_is_named() -> None:
    raw = json.loads(_text())
    del raw["scene"]["origin"]
    with pytest.raises(CheckpointError, match=r"scene\.origin"):
        parse_manifest(json.dumps(raw), "here")


def test_shards_of_experts_that_the_partition_lacks_are_refused() -> None:
    shards = {"1": {"file": "experts/1.safetensors", "sha256": "0" * 64, "n_bytes": 1}}
    with pytest.raises(CheckpointError, match=r"does not fit together: 1 centroids"):
        parse_manifest(_text(shards=shards), "here")


@given(st.integers(0, 2000))
def test_a_truncated_manifest_is_damaged(at: int) -> None:
    text = _text()
    with pytest.raises(CheckpointError, match=r"damaged|version"):
        parse_manifest(text[: at % len(text)], "here")


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", "[" * 100_000, '{"version": 1}', '{"version": true}']
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_manifest(text, "here")


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    step = tmp_path / "step0000200"
    _written(step)
    (step / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="not UTF-8"):
        read_manifest(str(step))


def test_reading_manifests_needs_no_torch() -> None:
    code = "import sys, anerf.checkpoint.resolve, anerf.checkpoint.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

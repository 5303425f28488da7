"""A scene on disk: what is written comes back, and what is broken is named."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from anerf.errors import SceneError
from anerf.geometry.boxes import Aabb
from anerf.scene.scene import Reprojection, c2w_learning, load_scene, save_scene


def test_round_trip(scene):
    save_scene(replace(scene, reprojection=Reprojection(0.5, 0.25)))
    again = load_scene(scene.root)
    assert again.reprojection == Reprojection(0.5, 0.25)
    for field in fields(scene):
        if field.name not in ("frames", "reprojection"):
            assert getattr(again, field.name) == getattr(scene, field.name)
    for old, new in zip(scene.frames, again.frames, strict=True):
        np.testing.assert_array_equal(new.c2w, old.c2w)
        assert replace(new, c2w=old.c2w).__dict__ == old.__dict__


def test_points(scene):
    xyz, rgb = scene.points()
    assert xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert rgb.dtype == np.uint8
    assert rgb.tolist() == [[1, 2, 3], [4, 5, 6]]
    (scene.root / "points.parquet").unlink()
    assert scene.points()[0].shape == (0, 3)


def test_splits(scene):
    assert scene.splits() == ("train", "val")
    assert [frame.id for frame in scene.frames_of("train")] == [0, 2]
    with pytest.raises(SceneError, match="no split after; it has train, val"):
        scene.frames_of("after")


def test_learning_frame(scene):
    assert scene.to_learning(np.array([60.0, 20.0, 30.0])).tolist() == [1, 0, 0]
    np.testing.assert_allclose(scene.from_learning(scene.to_learning(np.array([[7.0, 8, 9]]))), [[7, 8, 9]])
    assert scene.aabb_learning == Aabb((-1.0, -0.8, -0.6), (1.0, 0.8, 0.6))
    pose = c2w_learning(scene, scene.frames[0])
    assert pose.dtype == np.float32
    np.testing.assert_allclose(pose[:, 3], [-0.2, -0.3, 1.0], atol=1e-7)
    np.testing.assert_array_equal(pose[:, :3], scene.frames[0].c2w[:, :3].astype(np.float32))


def test_missing_scene(tmp_path):
    with pytest.raises(SceneError, match=r"nothing is no scene .*anerf prepare"):
        load_scene(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"scale_m": "big"}, "scale_m"),
        ({"extra": 1}, "extra"),
        ({"aabb_m": {"lo": [0, 0, 0], "hi": [-1, 1, 1]}}, "no usable scene box"),
        ({"aabb_m": {"lo": [0, 0, 0]}}, "no usable scene box"),
    ],
)
def test_broken_scene_json(scene, change, says):
    file = scene.root / "scene.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SceneError, match=says):
        load_scene(scene.root)


@pytest.mark.parametrize("content", [b"", b"PAR1 no", None])
def test_broken_frame_table(scene, content):
    file = scene.root / "frames.parquet"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SceneError, match=r"frames.parquet cannot be read .*prepare the scene again"):
        load_scene(scene.root)


def test_table_of_something_else(scene):
    (scene.root / "points.parquet").replace(scene.root / "frames.parquet")
    with pytest.raises(SceneError, match="not the columns"):
        load_scene(scene.root)

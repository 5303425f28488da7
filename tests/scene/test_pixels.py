"""The pixel cache: exact means, masks, gathering, what is kept after an update, and damaged photographs."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from anerf.errors import SceneError
from anerf.scene.pixels import open_pixels


def _pixels(scene, i):
    return np.asarray(Image.open(scene.root / scene.frames[i].file))


def test_full_size_is_the_photograph(scene):
    store = open_pixels(scene, 1.0)
    for i in range(3):
        np.testing.assert_array_equal(store.image(i), _pixels(scene, i))
        assert store.size(i) == (store.camera(i).width, store.camera(i).height)


def test_whole_factors_are_box_means(scene):
    store = open_pixels(scene, 0.5)
    assert store.size(0) == (12, 8)
    means = _pixels(scene, 0).reshape(8, 2, 12, 2, 3).mean(axis=(1, 3))
    assert abs(store.image(0) - means).max() <= 0.5 + 1e-6


def test_other_factors_are_means_of_the_centres_covered(scene):
    store = open_pixels(scene, 0.25)
    assert store.size(2) == (5, 4)  # 20 x 14: each row covers 3.5 rows
    rows = _pixels(scene, 2).astype(float)
    third = rows[7:10].mean(axis=0)  # rows 7 to 10.5: the centres 7.5, 8.5 and 9.5, and 10.5 on the border
    fourth = rows[7:11].mean(axis=0)
    found = store.image(2)[2]
    assert min(abs(found - rows.reshape(5, 4, 3).mean(axis=1)).max() for rows in (third, fourth)) <= 1


def test_mask_keeps_only_untouched_areas(scene):
    mask = open_pixels(scene, 0.5).mask(0)
    expected = np.ones((8, 12), bool)
    expected[:, 0], expected[2, 4] = False, False
    np.testing.assert_array_equal(mask, expected)
    assert open_pixels(scene, 0.5).mask(1).all()


def test_gather_agrees_with_the_pictures(scene):
    store = open_pixels(scene, 0.5)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 3, 200)
    sizes = np.array([store.size(i) for i in range(3)])
    x, y = (rng.random(200) * sizes[frame, 0]).astype(int), (rng.random(200) * sizes[frame, 1]).astype(int)
    expected = [store.image(f)[b, a] for f, a, b in zip(frame, x, y, strict=True)]
    np.testing.assert_array_equal(store.gather(frame, x, y), expected)
    learn = [store.mask(f)[b, a] for f, a, b in zip(frame, x, y, strict=True)]
    np.testing.assert_array_equal(store.gather_mask(frame, x, y), learn)


def test_second_opening_decodes_nothing(scene):
    first = open_pixels(scene, 0.5)
    calls = []
    for i in range(3):
        (scene.root / f"images/{i}.png").unlink()
    second = open_pixels(scene, 0.5, progress=lambda done, total: calls.append(done))
    assert calls == []
    np.testing.assert_array_equal(first.image(2), second.image(2))


def test_updated_scene_takes_over_what_is_known(scene):
    before = open_pixels(scene, 0.5)
    Image.fromarray(_pixels(scene, 0)[::-1]).save(scene.root / "images/new.png")
    (scene.root / "images/0.png").unlink()  # no longer needed: its pixels are cached
    added = replace(scene.frames[1], id=9, file="images/new.png", sha256="new")
    store = open_pixels(replace(scene, frames=(*scene.frames, added)), 0.5)
    np.testing.assert_array_equal(store.image(0), before.image(0))
    np.testing.assert_array_equal(store.mask(0), before.mask(0))
    assert len(store) == 4
    assert store.image(3).shape == (8, 12, 3)
    folders = [path.name for path in (scene.root / "cache").iterdir() if path.is_dir()]
    assert len(folders) == 1  # the older cache is gone; those who have it open keep it


def test_half_built_cache_is_built_again(scene):
    leftover = scene.root / "cache" / "pixels-0.5.building"
    leftover.mkdir(parents=True)
    (leftover / "pixels.u8").write_bytes(b"half")
    np.testing.assert_array_equal(open_pixels(scene, 0.5).size(0), (12, 8))
    assert not leftover.exists()


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_unreadable_photograph_is_named(scene, content):
    path = scene.root / "images/1.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError, match=r"images/1.png cannot be decoded .*original"):
        open_pixels(scene, 0.5)
    assert not [path for path in (scene.root / "cache").iterdir() if (path / "index.json").exists()]


def test_wrong_size_is_named(scene):
    Image.new("RGB", (7, 5)).save(scene.root / "images/1.png")
    with pytest.raises(SceneError, match=r"images/1.png has 7 x 5 pixels but its camera 24 x 16"):
        open_pixels(scene, 0.5)


@pytest.mark.parametrize("downscale", [0, -1, 1.5])
def test_impossible_downscale(scene, downscale):
    with pytest.raises(SceneError, match="above 0 and up to 1"):
        open_pixels(scene, downscale)


def test_several_processes_at_once(scene):
    program = (
        "import sys; from anerf.scene.scene import load_scene; from anerf.scene.pixels import open_pixels\n"
        "assert open_pixels(load_scene(sys.argv[1]), 0.5).image(0).shape == (8, 12, 3)"
    )
    command = [sys.executable, "-c", program, str(scene.root)]
    running = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]

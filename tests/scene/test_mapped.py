"""Pictures that are larger than the memory they may take, and disks that are too small for them."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from anerf.errors import SceneError, StorageUnavailable
from anerf.scene.mapped import MappedFile
from anerf.scene.pixels import open_pixels

MIB = 1 << 20


def mapped_bytes() -> int:
    """Of this process's resident memory, what belongs to files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("RssFile:")[1].split()[0])


@pytest.fixture
def large(tmp_path) -> tuple[Path, np.ndarray]:
    content = np.random.default_rng(0).integers(0, 256, 64 * MIB, np.uint8)
    content.tofile(tmp_path / "large.u8")
    return tmp_path / "large.u8", content


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what belongs to files")
@pytest.mark.parametrize("budget", [8 * MIB, 64 * MIB])
def test_what_was_read_is_dropped_when_the_budget_is_used_up(large, budget):
    path, content = large
    mapped, before = MappedFile(path, len(content), budget), mapped_bytes()
    rng, peak = np.random.default_rng(1), 0
    for _ in range(100):
        first = rng.integers(0, len(content) - 3, 50)
        np.testing.assert_array_equal(mapped.at(first, 3), content[first[:, None] + np.arange(3)])
        peak = max(peak, mapped_bytes() - before)
    for first in range(0, len(content), MIB):
        assert mapped.part(first, MIB).sum() == content[first : first + MIB].sum()
        peak = max(peak, mapped_bytes() - before)
    assert peak <= budget + 4 * MIB
    assert peak > budget / 3  # the budget is used


def test_views_outlive_the_drop(large):
    path, content = large
    mapped = MappedFile(path, len(content), MIB)
    view = mapped.part(5 * MIB, 1000)
    for first in range(0, len(content), MIB):
        mapped.part(first, MIB)
    np.testing.assert_array_equal(view, content[5 * MIB : 5 * MIB + 1000])


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def folders(scene) -> set[str]:
    return {path.name.rpartition("-")[0] for path in (scene.root / "cache").iterdir() if path.is_dir()}


@pytest.mark.parametrize(
    ("total", "error"),
    [(10**9, StorageUnavailable), (2 * 10**8, SceneError)],
    ids=["full, which may go by", "too small"],
)
def test_full_disk_is_named_before_anything_is_decoded(scene, monkeypatch, total, error):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total, total - 10**8, 10**8))
    with pytest.raises(error, match=r"3 pictures of this size need .* 0\.1 GB free; take a smaller"):
        open_pixels(scene, 0.5)
    assert folders(scene) == set()


def test_pictures_at_other_sizes_make_room_unless_they_are_in_use(scene, monkeypatch):
    for downscale in (1.0, 0.75, 0.5):
        open_pixels(scene, downscale)
    used = open_pixels(scene, 1.0)
    for age, label in ((30, "pixels-1-"), (20, "pixels-0.5-"), (10, "pixels-0.75-")):
        (index,) = (scene.root / "cache").glob(f"{label}*/index.json")
        os.utime(index, (1e9 - age, 1e9 - age))
    # There is room as soon as one size is gone.
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(10**10, 0, 10**9 if len(folders(scene)) < 3 else 10**8)
    )
    open_pixels(scene, 0.25)
    assert folders(scene) == {"pixels-1", "pixels-0.75", "pixels-0.25"}
    assert used.image(0).shape == (16, 24, 3)


def test_what_is_there_needs_no_room(scene, monkeypatch):
    open_pixels(scene, 0.5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    assert len(open_pixels(scene, 0.5)) == 3

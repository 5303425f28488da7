"""Scores against a scene's truth: errors of depth, and of the part that an event changed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.learn.evaluate import ScoredView, ViewScore, mean_scores, score_view
from anerf.learn.metrics import depth_errors_m, psnr
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import PixelStore, open_pixels
from anerf.scene.scene import Scene
from anerf.scene.truth import changed_file, depth_file

NEW = -3  # a frame of the later flight


@pytest.fixture
def scene(tiny_scene: Scene, tmp_path: Path) -> Scene:
    """The tiny scene with a truth of one's own."""
    shutil.copytree(tiny_scene.root, tmp_path / "scene", ignore=shutil.ignore_patterns("truth"))
    return replace(tiny_scene, root=tmp_path / "scene")


def _score(model: SceneModel, scene: Scene, pixels: PixelStore, index: int = NEW) -> ScoredView:
    return score_view(model, scene, pixels, index, role="new", tto=0, samples=8, lpips=None)


def _write(scene: Scene, depth_m: np.ndarray, changed: np.ndarray) -> None:
    name = scene.frames[NEW].file.removeprefix("images/")
    for path in (depth_file(scene.root, name), changed_file(scene.root, name)):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.save(depth_file(scene.root, name), depth_m.astype(np.float32), allow_pickle=False)
    Image.fromarray(np.where(changed, 255, 0).astype(np.uint8)).save(changed_file(scene.root, name))


def test_depth_errors_by_hand() -> None:
    truth_m = np.array([[10, 20, np.inf], [np.nan, 30, 40]], np.float32)
    depth_m = np.array([[11, 17, 5], [5, 30, 99]], np.float32)
    mask = np.array([[True, True, True], [True, True, False]])
    assert depth_errors_m(depth_m, truth_m, mask).tolist() == [1, 3, 0]
    with pytest.raises(ValueError, match="one shape"):
        depth_errors_m(depth_m, truth_m[:1], mask)


def test_a_view_is_measured_in_metres_whole_and_where_it_changed(model, scene, pixels) -> None:
    rendered_m = _score(model, scene, pixels).picture.depth_m
    # Off by 1 m, by 5 m in the upper quarter, which changed; nobody knows the first column.
    changed = np.zeros((72, 96), bool)
    changed[:18] = True
    truth_m = rendered_m + np.where(changed, -5, 1)
    truth_m[:, 0] = np.nan
    _write(scene, truth_m, changed)
    view = _score(model, scene, pixels)
    score = view.score
    assert score.depth_median_m == pytest.approx(1, abs=1e-4)
    assert score.depth_mean_m == pytest.approx(0.75 * 1 + 0.25 * 5, abs=1e-4)
    assert score.depth_changed_median_m == pytest.approx(5, abs=1e-4)
    photograph = pixels.image(len(pixels) + NEW).astype(np.float32) / 255
    assert score.psnr_changed_db == pytest.approx(psnr(view.picture.rgb[:18], photograph[:18]), abs=1e-4)
    assert score.psnr_unchanged_db == pytest.approx(psnr(view.picture.rgb[18:], photograph[18:]), abs=1e-4)


def test_a_small_part_is_not_judged_alone(model, scene, pixels) -> None:
    changed = np.zeros((72, 96), bool)
    changed[10:20, 10:29] = True  # 190 pixels
    _write(scene, np.full((72, 96), 60), changed)
    score = _score(model, scene, pixels).score
    assert score.depth_median_m is not None
    assert (score.depth_changed_median_m, score.psnr_changed_db) == (None, None)
    assert score.psnr_unchanged_db is not None


def test_masked_pixels_do_not_count(model, scene, pixels) -> None:
    rendered_m = _score(model, scene, pixels).picture.depth_m
    _write(scene, rendered_m + np.where(np.arange(96) < 60, 7, 2), np.ones((72, 96), bool))
    mask = np.where(np.arange(96) < 60, 0, 255).astype(np.uint8) + np.zeros((72, 1), np.uint8)
    Image.fromarray(mask).save(scene.root / "mask.png")
    frames = list(scene.frames)
    frames[NEW] = replace(frames[NEW], mask="mask.png")
    masked = replace(scene, frames=tuple(frames))
    score = _score(model, masked, open_pixels(masked, 1.0)).score
    assert score.depth_median_m == pytest.approx(2, abs=1e-4)
    assert score.depth_changed_median_m == pytest.approx(2, abs=1e-4)
    assert score.psnr_unchanged_db is None  # nothing is left of it


def test_a_scene_that_knows_nothing_has_no_errors_of_depth(model, scene, pixels) -> None:
    score = _score(model, scene, pixels).score
    assert score.psnr_db > 5
    assert (score.depth_median_m, score.depth_mean_m, score.depth_changed_median_m) == (None, None, None)
    assert (score.psnr_changed_db, score.psnr_unchanged_db) == (None, None)


def test_means_are_over_the_views_that_have_the_figure() -> None:
    score = ViewScore(
        file="images/after/a.jpg", split="after", role="new", tto=0, psnr_db=20, mean_look_psnr_db=19,
        fitted_psnr_db=21, ssim=0.5, lpips=None, seconds=1, depth_median_m=0.5,
    )  # fmt: skip
    other = replace(score, psnr_db=30, depth_median_m=1.5, depth_changed_median_m=4.0)
    means = mean_scores([score, other])
    assert (means["psnr_db"], means["depth_median_m"], means["depth_changed_median_m"]) == (25, 1, 4)
    assert not {"lpips", "depth_mean_m", "psnr_changed_db"} & set(means)
    assert score.view == "after/a.jpg"

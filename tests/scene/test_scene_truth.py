"""The truth about photographs comes from the survey into the scene and is read at any size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.geodesy import ecef_to_enu, enu_to_ecef
from anerf.geometry.rays import rays_from_pixels
from anerf.render.picture import pixel_centers
from anerf.scene.made.survey import REFERENCE
from anerf.scene.made.truth import trace_depth
from anerf.scene.prepare import prepare_scene
from anerf.scene.scene import Scene
from anerf.scene.truth import changed_file, depth_file, read_truth
from anerf.scene.update import update_scene

SIZE = (32, 48)  # of the survey's photographs: rows and columns


def _write(root: Path, name: str, depth_m: np.ndarray, changed: np.ndarray | None = None) -> None:
    depth_file(root, name).parent.mkdir(parents=True, exist_ok=True)
    np.save(depth_file(root, name), depth_m, allow_pickle=False)
    if changed is not None:
        changed_file(root, name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(changed, 255, 0).astype(np.uint8)).save(changed_file(root, name))


def _ramp(start: float = 0.0) -> np.ndarray:
    return (start + np.arange(SIZE[0] * SIZE[1], dtype=np.float32)).reshape(SIZE)


def test_pixels_take_the_nearest_depth_and_no_mean(scene: Scene) -> None:
    frame = scene.frames[0]  # 24 x 16 pixels
    depth_m = np.where(np.arange(24) < 11, 10, 90).astype(np.float32) + np.zeros((16, 1), np.float32)
    depth_m[5, 7], depth_m[3] = np.nan, np.inf
    _write(scene.root, "0.png", depth_m, depth_m == 90)
    full = read_truth(scene, frame, frame.camera)
    assert full.depth_m is not None
    assert np.array_equal(full.depth_m, depth_m, equal_nan=True)
    # A third: centres of the new pixels are those of columns 1, 4, 7, ... and rows 1, 4, 7, ...
    third = read_truth(scene, frame, frame.camera.scaled(1 / 3))
    assert third.depth_m is not None
    assert third.changed is not None
    assert third.depth_m.shape == (5, 8)
    assert third.depth_m[0].tolist() == [10, 10, 10, 10, 90, 90, 90, 90]
    assert third.changed[0].tolist() == [False] * 4 + [True] * 4
    # The last of five new rows of 3.2 has its centre at 14.4; the second its at 4.8.
    assert third.depth_m[1].tolist() == depth_m[4, 1::3].tolist()
    assert third.depth_m[4].tolist() == depth_m[14, 1::3].tolist()
    half = read_truth(scene, frame, frame.camera.scaled(0.5))
    assert half.depth_m is not None
    assert set(half.depth_m[np.isfinite(half.depth_m)].tolist()) == {10, 90}


def test_a_frame_of_which_nothing_is_known(scene: Scene) -> None:
    known = read_truth(scene, scene.frames[1], scene.frames[1].camera)
    assert (known.depth_m, known.changed) == (None, None)


@pytest.mark.parametrize(
    ("depth_m", "says"),
    [
        (np.ones((16, 24)), r"0\.png\.npy holds float64 \(16, 24\), not float32 \(16, 24\)"),
        (np.ones((24, 16), np.float32), r"holds float32 \(24, 16\), not float32 \(16, 24\)"),
        (None, r"0\.png\.npy cannot be read"),
    ],
)
def test_depth_that_does_not_fit_is_named(scene: Scene, depth_m: np.ndarray | None, says: str) -> None:
    _write(scene.root, "0.png", np.ones((16, 24), np.float32) if depth_m is None else depth_m)
    if depth_m is None:
        path = depth_file(scene.root, "0.png")
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=says):
        read_truth(scene, scene.frames[0], scene.frames[0].camera)


def test_prepare_and_update_carry_it(survey: Path, make_survey, tmp_path: Path) -> None:
    _write(survey, "003.jpg", _ramp(), _ramp() < 100)
    scene = prepare_scene(survey, tmp_path / "scene")
    make_survey(tmp_path / "flight", n=4, seed=9)
    _write(tmp_path / "flight", "003.jpg", _ramp(50))
    scene = update_scene(scene.root, tmp_path / "flight", "after")
    found = {frame.file: read_truth(scene, frame, frame.camera) for frame in scene.frames}
    old, new = found.pop("images/003.jpg"), found.pop("images/after/003.jpg")
    assert old.depth_m is not None
    assert old.changed is not None
    assert new.depth_m is not None
    assert np.array_equal(old.depth_m, _ramp())
    assert np.array_equal(old.changed, _ramp() < 100)
    assert np.array_equal(new.depth_m, _ramp(50))
    assert new.changed is None
    assert all(known.depth_m is None and known.changed is None for known in found.values())


def test_what_a_crash_left_is_not_taken_for_true(survey: Path, make_survey, tmp_path: Path) -> None:
    scene = prepare_scene(survey, tmp_path / "scene")
    _write(scene.root, "after/003.jpg", _ramp())
    make_survey(tmp_path / "flight", n=4, seed=9)
    scene = update_scene(scene.root, tmp_path / "flight", "after")
    frame = next(frame for frame in scene.frames if frame.file == "images/after/003.jpg")
    assert read_truth(scene, frame, frame.camera).depth_m is None


def test_a_damaged_truth_leaves_every_byte(survey: Path, make_survey, tmp_path: Path) -> None:
    scene = prepare_scene(survey, tmp_path / "scene")
    make_survey(tmp_path / "flight", n=4, seed=9)
    _write(tmp_path / "flight", "000.jpg", _ramp())
    _write(tmp_path / "flight", "003.jpg", _ramp(), np.zeros((32, 47), bool))
    before = {path: path.read_bytes() for path in scene.root.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"003\.jpg\.png has 47 x 32 pixels but its photograph has 48 x 32"):
        update_scene(scene.root, tmp_path / "flight", "after")
    assert {path: path.read_bytes() for path in scene.root.rglob("*") if path.is_file()} == before


def test_the_made_survey_brings_it_for_every_frame(tiny_scene: Scene) -> None:
    """At a third of the size pixels' centres are the photograph's: depths are those of their rays."""
    for frame in tiny_scene.frames:
        camera = frame.camera.scaled(1 / 3)
        known = read_truth(tiny_scene, frame, camera)
        assert known.depth_m is not None
        assert known.changed is not None
        assert known.depth_m.shape == known.changed.shape == (24, 32)
        c2w = ecef_to_enu(enu_to_ecef(frame.c2w, tiny_scene.reference), REFERENCE)
        rays_o, rays_d = rays_from_pixels(camera, torch.from_numpy(c2w), pixel_centers(camera).double())
        flight = "after" if frame.split == "after" else "before"
        traced = trace_depth(7, "tiny", flight, rays_o, rays_d).numpy().reshape(24, 32)
        # Some pixels look along an edge, where a rounding error decides.
        assert np.mean(np.abs(traced - known.depth_m) < 0.02) > 0.98

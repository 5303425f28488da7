"""Poses from photographs alone against the truth, and new photographs among them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.scene.colmap import read_colmap, stored_poses, write_colmap
from anerf.scene.gps import read_gps_table
from anerf.scene.prepare import prepare_scene
from anerf.scene.sfm.reconstruct import ReconstructOptions, reconstruct
from anerf.scene.sfm.register import register
from anerf.scene.update import update_scene

pytestmark = pytest.mark.slow
OPTIONS = ReconstructOptions()


def _silent(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total, stage


def _off(found: Path, true: Path, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Metres and degrees between the poses of two models, photograph by photograph."""
    poses = {image.name: image.c2w for image in read_colmap(found).images}
    metres, degrees = [], []
    for image in read_colmap(true).images:
        if f"{prefix}{image.name}" in poses:
            pose = poses[f"{prefix}{image.name}"]
            metres.append(np.linalg.norm(pose[:, 3] - image.c2w[:, 3]))
            cos = (np.trace(pose[:, :3].T @ image.c2w[:, :3]) - 1) / 2
            degrees.append(np.degrees(np.arccos(np.clip(cos, -1, 1))))
    return np.array(metres), np.array(degrees)


@pytest.fixture(scope="module")
def reconstructed(demo_survey, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sfm") / "survey"
    made = reconstruct(demo_survey / "before/images", out, _silent, OPTIONS)
    assert len(made.registered) == 64
    assert not made.missing
    return out


def test_cameras_are_where_they_were(reconstructed, demo_survey):
    metres, degrees = _off(reconstructed / "model", demo_survey / "before/model")
    assert len(metres) == 64
    assert metres.max() < 0.3
    assert degrees.max() < 0.2


def test_new_photographs_move_nothing_old(reconstructed, demo_survey, tmp_path):
    survey = tmp_path / "survey"
    shutil.copytree(reconstructed, survey, symlinks=True)
    scene = prepare_scene(survey, tmp_path / "scene")
    before = stored_poses(survey / "model")
    made = register(survey, demo_survey / "after/images", "after", _silent, OPTIONS)
    assert len(made.registered) == 24
    after = stored_poses(survey / "model")
    assert {name: after[name] for name in before} == before
    assert len(after) == 88
    metres, _ = _off(survey / "model", demo_survey / "after/model", "after/")
    assert len(metres) == 24
    assert metres.max() < 0.5
    # The survey with both flights updates the scene of the first.
    updated = update_scene(scene.root, survey, "after")
    assert len(updated.frames_of("after")) == 24
    with pytest.raises(InputError, match=r"holds all photographs of .* as after; bring others"):
        register(survey, demo_survey / "after/images", "after", _silent, OPTIONS)


def test_a_survey_of_another_program_takes_new_photographs(demo_survey, tmp_path):
    survey = tmp_path / "survey"
    shutil.copytree(demo_survey / "before", survey)
    before = stored_poses(survey / "model")
    made = register(survey, demo_survey / "after/images", "later", _silent, OPTIONS)
    assert len(made.registered) == 24
    after = stored_poses(survey / "model")
    assert {name: after[name] for name in before} == before
    metres, _ = _off(survey / "model", demo_survey / "after/model", "later/")
    assert metres.max() < 0.5


def test_photographs_of_another_place_are_refused(demo_survey, tmp_path, shared_data):
    survey, other = tmp_path / "survey", tmp_path / "other"
    model = read_colmap(demo_survey / "before/model")
    few = tuple(image for image in model.images if image.name < "before_0021")
    survey.mkdir()
    (survey / "images").mkdir()
    for image in few:
        shutil.copy(demo_survey / "before/images" / image.name, survey / "images")
    write_colmap(survey / "model", replace(model, images=few))
    other.mkdir()
    for file in sorted((shared_data / "data/caliterra/images").iterdir())[:2]:
        shutil.copy(file, other)
    with pytest.raises(InputError, match=r"none of the 2 photographs of .* has enough in common"):
        register(survey, other, "other", _silent, OPTIONS)
    assert len(stored_poses(survey / "model")) == len(few)


def test_caliterra_from_pictures(shared_data, tmp_path):
    root = shared_data / "data/caliterra"
    out = tmp_path / "survey"
    with pytest.raises(InputError, match="--height-prior median"):
        reconstruct(root / "images", out, _silent, OPTIONS, gps=root / "gps.csv")
    assert not (out / "model").exists()
    seen: list[str] = []

    def listen(stage: str, done: int, total: int) -> None:
        if done < total:
            seen.append(stage)

    made = reconstruct(root / "images", out, listen, OPTIONS, gps=root / "gps.csv", height_prior="median")
    assert not seen  # all was there from the first try
    assert len(made.registered) >= 70
    assert made.georeference is not None
    assert made.georeference.horizontal_rms_m is not None
    assert made.georeference.horizontal_rms_m < 20
    assert len(read_gps_table(out / "gps.csv")) == 75
    scene = prepare_scene(out, tmp_path / "scene")
    assert scene.reprojection is not None
    assert scene.reprojection.scene_px < 1


def test_what_was_begun_otherwise_is_not_mixed(reconstructed, demo_survey):
    with pytest.raises(InputError, match="was begun with other settings; go on with those"):
        reconstruct(demo_survey / "before/images", reconstructed, _silent, replace(OPTIONS, max_image_px=200))


def test_pictures_that_do_not_fit_together(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{i} ü.png")
    with pytest.raises(InputError, match=r"4 photographs of .* do not fit together: they need to overlap"):
        reconstruct(tmp_path / "images", tmp_path / "out", _silent, OPTIONS)
    (tmp_path / "images/0 ü.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0 ü.png cannot be read .*; copy it from the camera again"):
        reconstruct(tmp_path / "images", tmp_path / "out3", _silent, OPTIONS)
    assert not (tmp_path / "out3").exists()
    with pytest.raises(InputError, match="holds a folder images; give"):
        reconstruct(tmp_path, tmp_path.parent / "out4", _silent, OPTIONS)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no photograph"):
        reconstruct(tmp_path / "none", tmp_path / "out2", _silent, OPTIONS)
    assert not (tmp_path / "out2").exists()

"""Poses of a scene's frames against a trained model of it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from anerf.learn.poses import PoseCorrection, PosePrior
from anerf.learn.scene_poses import PoseRequest, moved_scene, refined_view
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import open_pixels

OFFSET = PoseCorrection((0.5, -0.4, 0.3), (0.3, -0.2, 0.4), 0.0, 0.0, 0)
"""About a pixel: these pictures are 96 wide."""
REQUEST = PoseRequest(PosePrior(1.0, 1.0), samples=16, seed=0)


@pytest.fixture
def model(trained, tiny_scene, learner):
    """The tiny scene as its one expert knows it."""
    scene, background = tiny_scene, trained.background.detach()
    return SceneModel(
        scene.name, scene.reference, scene.crs, scene.origin, scene.scale, scene.aabb, ("survey", "after"),
        ("0",), np.array([scene.aabb.center]), 2, 1.0, learner.spec, learner.setting, (trained.model(),),
        background,
    )  # fmt: skip


@pytest.fixture
def pictured(model, tiny_scene, tmp_path):
    """A scene of one photograph, which is the model's own picture, and its pixels."""
    frame = next(frame for frame in tiny_scene.frames if frame.split == "after")
    picture = render_picture(model, frame.camera, frame.c2w, flight="after")
    (tmp_path / "images").mkdir()
    Image.fromarray(np.round(255 * picture.rgb).astype(np.uint8)).save(tmp_path / "images" / "own.png")
    scene = replace(
        tiny_scene, root=tmp_path, frames=(replace(frame, file="images/own.png", sha256="0" * 64),)
    )
    return scene, open_pixels(scene, 1.0)


def test_a_frame_is_moved_to_where_the_model_shows_its_photograph(model, pictured):
    scene, pixels = pictured
    true = scene.frames[0].c2w
    given = moved_scene(scene, {"images/own.png": OFFSET})
    correction = refined_view(model, given, pixels, 0, REQUEST)
    refined = moved_scene(given, {"images/own.png": correction}).frames[0].c2w
    assert np.linalg.norm(refined[:, 3] - true[:, 3]) < 0.5 * OFFSET.metres
    assert np.abs(refined[:, :3] - true[:, :3]).max() < 0.5 * np.radians(OFFSET.degrees)
    assert correction.cost_after < 0.5 * correction.cost_before
    assert 500 < correction.n_rays <= REQUEST.n_rays, "rays into the sky do not count"
    assert refined_view(model, given, pixels, 0, REQUEST) == correction


def test_a_new_flights_photograph_is_compared_with_the_survey_where_the_model_does_not_know_it(
    model, tiny_scene, pixels
):
    index = next(i for i, frame in enumerate(tiny_scene.frames) if frame.split == "after")
    correction = refined_view(replace(model, flights=("survey",)), tiny_scene, pixels, index, REQUEST)
    assert correction.cost_after <= correction.cost_before


def test_only_named_frames_are_moved(tiny_scene):
    file = tiny_scene.frames[3].file
    scene = moved_scene(tiny_scene, {file: OFFSET})
    assert [f.file for f in scene.frames if f not in tiny_scene.frames] == [file]
    np.testing.assert_allclose(
        scene.frames[3].c2w[:, 3] - tiny_scene.frames[3].c2w[:, 3], OFFSET.translation_m, atol=1e-9
    )

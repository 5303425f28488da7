"""From surveys to scenes: frames of reference, splits, boxes and masks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.errors import InputError, SceneError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef
from anerf.geometry.rays import look_at
from anerf.scene.colmap import ColmapModel, read_colmap, write_colmap
from anerf.scene.extent import box_of_views
from anerf.scene.placing import Placing
from anerf.scene.prepare import prepare_scene
from anerf.scene.scene import Scene, load_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)


def _change_model(survey: Path, **changes: object) -> ColmapModel:
    model = replace(read_colmap(survey / "model"), **changes)
    write_colmap(survey / "model", model)
    return model


def _in_ecef(scene: Scene) -> dict[str, np.ndarray]:
    return {frame.file: enu_to_ecef(frame.c2w, scene.reference) for frame in scene.frames}


def _write_transforms(survey: Path, **extra: object) -> dict:
    """The survey's model as transforms.json, ENU about REFERENCE."""
    model = read_colmap(survey / "model")
    frames = [
        {
            "file_path": f"images/{image.name}",
            "transform_matrix": [*ecef_to_enu(image.c2w, REFERENCE).tolist(), [0, 0, 0, 1]],
        }
        for image in model.images
    ]
    data = {"w": 48, "h": 32, "fl_x": 40, "fl_y": 41, "cx": 24, "cy": 16, "frames": frames}
    data |= {"enu_reference": {"latitude_deg": 51.5, "longitude_deg": 7.4, "altitude_m": 200}} | extra
    (survey / "transforms.json").write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return data


def test_colmap_in_ecef(survey, tmp_path):
    scene = prepare_scene(survey, tmp_path / "scene")
    model = read_colmap(survey / "model")
    assert [frame.id for frame in scene.frames] == list(range(10))
    assert [frame.split for frame in scene.frames].count("val") == 1
    assert scene.frames[4].split == "val"  # the middle of the first eight
    cameras = np.stack([image.c2w[:, 3] for image in model.images])
    np.testing.assert_allclose(
        ecef_to_enu(cameras, scene.reference).mean(axis=0), 0, atol=1e-3
    )  # the reference is the mean camera
    for image in model.images:
        np.testing.assert_allclose(_in_ecef(scene)[f"images/{image.name}"], image.c2w, atol=1e-7)
    np.testing.assert_allclose(enu_to_ecef(scene.points()[0], scene.reference), model.points_xyz, atol=1e-7)
    np.testing.assert_array_equal(scene.points()[1], model.points_rgb)
    assert scene.crs == "EPSG:32632"
    assert scene.reprojection is not None
    assert scene.reprojection.scene_px == pytest.approx(0.5, abs=1e-5)
    assert scene.reprojection.model_px == 0.5
    frame = scene.frames[0]
    assert frame.captured_at == "2024-05-01T10:00:00"
    assert frame.exposure_s == pytest.approx(0.004)
    assert (scene.root / frame.file).read_bytes() == (survey / frame.file).read_bytes()


def test_box_holds_the_points_and_sets_the_learning_frame(survey, tmp_path):
    scene = prepare_scene(survey, tmp_path / "scene")
    inside = scene.aabb.contains(scene.points()[0])
    assert inside.mean() > 0.99
    assert scene.origin == scene.aabb.center
    assert max(scene.aabb_learning.hi[:2]) == pytest.approx(1)
    assert scene.altitude_range_m[0] == scene.aabb.lo[2]
    assert scene.altitude_range_m[1] == pytest.approx(max(frame.c2w[2, 3] for frame in scene.frames))
    assert scene.aabb.hi[2] < -50  # cameras do not lift the box


def test_both_inputs_give_the_same_cameras(survey, tmp_path):
    _write_transforms(survey)
    from_colmap = _in_ecef(prepare_scene(survey, tmp_path / "a", kind="colmap"))
    scene = prepare_scene(survey, tmp_path / "b", kind="transforms")
    assert scene.reference == REFERENCE
    assert scene.reprojection is not None
    assert scene.reprojection.scene_px == pytest.approx(0.5, abs=1e-5)
    for file, pose in _in_ecef(scene).items():
        np.testing.assert_allclose(pose, from_colmap[file], atol=1e-7)


def test_real_survey_both_ways(shared_data, tmp_path):
    a = prepare_scene(shared_data / "data/drz", tmp_path / "a", kind="colmap")
    b = prepare_scene(shared_data / "data/drz", tmp_path / "b", kind="transforms")
    assert {split: len(b.frames_of(split)) for split in b.splits()} == {
        "train": 187,
        "val": 42,
        "continual": 33,
    }
    poses_a, poses_b = _in_ecef(a), _in_ecef(b)
    assert len(poses_a) == 229
    for file, pose in poses_a.items():
        assert np.linalg.norm(pose[:, 3] - poses_b[file][:, 3]) < 1e-3
        turn = pose[:, :3].T @ poses_b[file][:, :3]
        assert np.linalg.norm(turn - turn.T) < 1e-6
    for scene in (a, b):
        assert scene.reprojection is not None
        assert scene.reprojection.scene_px == pytest.approx(scene.reprojection.model_px, abs=1e-4)
    assert b.frames[0].mask == "masks/cam1.png"
    assert (b.root / "masks/cam2.png").is_file()


def test_box_from_views_where_there_are_no_points(survey, tmp_path):
    _write_transforms(survey)
    shutil.rmtree(survey / "model")
    with pytest.raises(InputError, match=r"no sparse points .*--altitude-range LOW,HIGH"):
        prepare_scene(survey, tmp_path / "scene")
    scene = prepare_scene(survey, tmp_path / "scene", altitude_range_m=(-85.0, -70.0))
    assert scene.reprojection is None
    assert len(scene.points()[0]) == 0
    assert (scene.aabb.lo[2], scene.aabb.hi[2]) == (-85, -70)
    # 85 m above the ground, 24 px / 40 px sideways: about 51 m beyond the outermost cameras at -50 and 50 m
    assert scene.aabb.lo[0] == pytest.approx(-101, abs=3)
    assert scene.aabb.hi[0] == pytest.approx(101, abs=3)


def test_box_from_a_panorama_is_all_around():
    # All corners of a panorama look straight up or down: only its inside sees the ground.
    camera = Camera("EQUIRECTANGULAR", 64, 32, (64.0, 32.0))
    pose = look_at((10.0, 20.0, 50.0), (20.0, 20.0, 50.0))
    box = box_of_views([camera], pose[None], (0.0, 30.0))
    np.testing.assert_allclose(box.lo[:2], (10 - 100, 20 - 100), atol=8)
    np.testing.assert_allclose(box.hi[:2], (10 + 100, 20 + 100), atol=8)


def test_local_metres_need_a_place_on_earth(survey, tmp_path):
    model = read_colmap(survey / "model")
    _change_model(
        survey,
        images=tuple(replace(image, c2w=ecef_to_enu(image.c2w, REFERENCE)) for image in model.images),
        points_xyz=ecef_to_enu(model.points_xyz, REFERENCE),
    )
    with pytest.raises(InputError, match=r"not in ECEF .*--enu-ref LATITUDE,LONGITUDE,HEIGHT"):
        prepare_scene(survey, tmp_path / "scene")
    scene = prepare_scene(survey, tmp_path / "scene", placing=Placing(origin=REFERENCE))
    assert scene.reference == REFERENCE
    for image in model.images:
        np.testing.assert_allclose(_in_ecef(scene)[f"images/{image.name}"], image.c2w, atol=1e-7)


def test_reference_on_another_continent_is_refused(survey, tmp_path):
    with pytest.raises(InputError, match=r"km from the reference -33.9.*more than 50 km"):
        prepare_scene(survey, tmp_path / "scene", placing=Placing(origin=GeodeticReference(-33.9, 18.4, 0.0)))


def test_what_nerfstudio_applied_is_taken_back(survey, tmp_path):
    data = _write_transforms(survey)
    applied = np.array([[0.0, 1, 0, 5], [-1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    for frame in data["frames"]:
        matrix = applied @ np.array(frame["transform_matrix"])
        matrix[:3, 3] *= 0.5
        frame["transform_matrix"] = matrix.tolist()
    _write_transforms(
        survey, frames=data["frames"], applied_transform=applied[:3].tolist(), applied_scale=0.5
    )
    scene = prepare_scene(survey, tmp_path / "scene", kind="transforms")
    for image in read_colmap(survey / "model").images:
        np.testing.assert_allclose(_in_ecef(scene)[f"images/{image.name}"], image.c2w, atol=1e-6)


def test_named_splits_are_kept(survey, tmp_path):
    data = _write_transforms(survey)
    names = [frame["file_path"] for frame in data["frames"]]
    _write_transforms(survey, train_filenames=names[:6], test_filenames=names[6:])
    scene = prepare_scene(survey, tmp_path / "scene", kind="transforms")
    assert [frame.split for frame in scene.frames] == ["train"] * 6 + ["val"] * 4


def test_masks_are_carried(survey, tmp_path):
    (survey / "masks").mkdir()
    Image.new("L", (48, 32), 255).save(survey / "masks/003.jpg.png")
    scene = prepare_scene(survey, tmp_path / "scene")
    assert [frame.mask for frame in scene.frames if frame.mask] == ["masks/003.jpg.png"]
    assert (scene.root / "masks/003.jpg.png").is_file()
    Image.new("L", (47, 32), 255).save(survey / "masks/003.jpg.png")
    with pytest.raises(InputError, match=r"masks/003.jpg.png has 47 x 32 pixels"):
        prepare_scene(survey, tmp_path / "other")


def test_a_model_of_another_survey_beside_transforms_is_not_used(survey, tmp_path, caplog):
    data = _write_transforms(survey)
    for frame in data["frames"]:
        frame["transform_matrix"][0][3] += 30.0
    _write_transforms(survey, frames=data["frames"])
    scene = prepare_scene(survey, tmp_path / "scene", kind="transforms", altitude_range_m=(-90.0, -60.0))
    assert "does not belong to the poses" in caplog.text
    assert len(scene.points()[0]) == 0


def test_existing_scene_is_kept_unless_told(survey, tmp_path):
    out = tmp_path / "scene"
    prepare_scene(survey, out, name="first")
    with pytest.raises(SceneError, match=r"exists already; .*--overwrite"):
        prepare_scene(survey, out)
    prepare_scene(survey, out, name="second", overwrite=True)
    assert load_scene(out).name == "second"


def test_overwrite_spares_what_is_no_scene(survey, tmp_path):
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(SceneError, match="not a scene and will not be overwritten"):
        prepare_scene(survey, out, overwrite=True)
    with pytest.raises(SceneError, match="would replace its own survey"):
        prepare_scene(survey, survey, overwrite=True)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_failed_overwrite_leaves_the_old_scene(survey, tmp_path):
    before = prepare_scene(survey, tmp_path / "scene")
    (survey / "images/002.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be decoded"):
        prepare_scene(survey, tmp_path / "scene", overwrite=True)
    after = load_scene(tmp_path / "scene")
    assert [frame.sha256 for frame in after.frames] == [frame.sha256 for frame in before.frames]
    assert (after.root / "images/002.jpg").stat().st_size > 0

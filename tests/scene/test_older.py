"""Folders of the older system, made from known cameras by its formulas: the same cameras come out."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.colmap import read_colmap
from anerf.scene.intake import read_survey
from anerf.scene.pixels import open_pixels
from anerf.scene.placing import Placing, place_survey
from anerf.scene.prepare import prepare_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)


def _worst_mm(a: np.ndarray, b: np.ndarray) -> float:
    return 1000 * float(np.linalg.norm(a[..., 3] - b[..., 3], axis=-1).max())


def test_drz_as_the_older_system_had_it(shared_data, make_older, tmp_path):
    root = shared_data / "data/drz"
    made = json.loads((root / "transforms.json").read_text())
    norm, place = made["upstream_normalisation"], made["enu_reference"]
    folders = {"train": "train", "val": "val", "continual": "continual/batch_0001"}
    photographs = [
        (
            folders[frame["split"]],
            root / frame["file_path"],
            np.array(frame["transform_matrix"])[:3],
            (2 * frame["w"], 2 * frame["h"]),
            [2 * frame[key] for key in ("fl_x", "fl_y", "cx", "cy")],
        )
        for frame in made["frames"]
    ]
    make_older(
        tmp_path / "out",
        photographs,
        norm["origin_drb_m"],
        norm["pose_scale_factor_m"],
        enu_ref_coords=(place["latitude_deg"], place["longitude_deg"], place["altitude_m"]),
        altitude_range_enu=torch.tensor(made["altitude_range_enu_m"]),
    )
    older = place_survey(read_survey(tmp_path / "out"))
    twin = place_survey(read_survey(root, "transforms"))
    assert older.survey.kind == "older"
    order = [[p.name for p in twin.survey.photographs].index(p.name) for p in older.survey.photographs]
    assert sorted(order) == list(range(262))
    worst_mm = _worst_mm(older.c2w, twin.c2w[order])
    assert worst_mm < 1
    assert worst_mm < 0.05  # float32, 227 m to the unit
    np.testing.assert_allclose(older.c2w[..., :3], twin.c2w[order][..., :3], rtol=0, atol=1e-6)
    for a, position in zip(older.survey.photographs, order, strict=True):
        b = twin.survey.photographs[position]
        assert (a.split, a.camera.width, a.camera.height) == (b.split, 1024, 768)
        np.testing.assert_allclose(a.camera.params, b.camera.params, rtol=1e-6)
    assert older.reference == twin.reference
    assert older.survey.altitude_range_m == pytest.approx(twin.survey.altitude_range_m)

    shutil.copytree(root / "model", tmp_path / "out/model")
    with_points = place_survey(read_survey(tmp_path / "out", "older"))
    assert len(with_points.points_xyz) == 12_000


def test_within_a_millimetre_at_city_scale(survey, make_older, tmp_path):
    rng = np.random.default_rng(0)
    poses = [np.column_stack((np.eye(3), rng.uniform((-5e3, -5e3, 50), (5e3, 5e3, 120)))) for _ in range(10)]
    sources = sorted((survey / "images").iterdir())
    photographs = [
        ("train", source, pose, (48, 32), [40.0, 41.0, 24.0, 16.0])
        for source, pose in zip(sources, poses, strict=True)
    ]
    make_older(tmp_path / "out", photographs, [-85.0, 312.7, -1208.3], 7100.5)
    found = place_survey(read_survey(tmp_path / "out"), Placing(origin=REFERENCE))
    assert _worst_mm(found.c2w, np.stack(poses)) < 1


def test_folder_becomes_a_scene(small_older, survey, tmp_path):
    scene = prepare_scene(small_older, tmp_path / "scene")
    twin = prepare_scene(survey, tmp_path / "twin", placing=Placing(origin=REFERENCE))
    assert "; reference named by the survey; box from the cameras' views" in scene.made_by
    assert [frame.split for frame in scene.frames] == ["train"] * 4 + ["val"] + ["train"] * 5
    assert (scene.aabb.lo[2], scene.aabb.hi[2]) == (-85, -70)
    for a, b in zip(scene.frames, twin.frames, strict=True):
        assert (a.id, a.file, a.sha256) == (b.id, b.file, b.sha256)
        np.testing.assert_allclose(a.camera.params, b.camera.params, rtol=1e-6)
    assert _worst_mm(np.stack([f.c2w for f in scene.frames]), np.stack([f.c2w for f in twin.frames])) < 0.1


def test_place_may_come_from_the_user(small_older, tensors, tmp_path):
    expected = place_survey(read_survey(small_older)).c2w
    content = torch.load(small_older / "coordinates.pt", weights_only=True)
    tensors(small_older / "coordinates.pt", {**content, "enu_ref_coords": None})
    with pytest.raises(InputError, match="--enu-ref LATITUDE,LONGITUDE,HEIGHT"):
        prepare_scene(small_older, tmp_path / "scene")
    np.testing.assert_allclose(
        place_survey(read_survey(small_older), Placing(origin=REFERENCE)).c2w, expected
    )


def test_several_later_flights_keep_their_names(small_older):
    for tag, name in (("batch_0001", "008"), ("batch_0002", "009")):
        for folder in ("metadata", "rgbs"):
            (small_older / "continual" / tag / folder).mkdir(parents=True)
            (file,) = (small_older / "train" / folder).glob(f"{name}.*")
            file.rename(small_older / "continual" / tag / folder / file.name)
    splits = {photograph.name: photograph.split for photograph in read_survey(small_older).photographs}
    assert (splits["007.jpg"], splits["008.jpg"], splits["009.jpg"]) == ("train", "batch_0001", "batch_0002")
    shutil.rmtree(small_older / "continual/batch_0002")
    splits = {photograph.name: photograph.split for photograph in read_survey(small_older).photographs}
    assert splits["008.jpg"] == "continual"


def test_flat_folder_names_no_splits(small_older):
    for folder in ("metadata", "rgbs"):
        (small_older / "train" / folder).rename(small_older / folder)
    shutil.rmtree(small_older / "val")
    photographs = read_survey(small_older).photographs
    assert [photograph.split for photograph in photographs] == [None] * 9


def test_photographs_masks_are_taken_and_clusters_are_not(small_older, tensors, tmp_path, caplog):
    caplog.set_level("INFO")
    mask = torch.ones(32, 48, dtype=torch.bool)
    mask[:, :7] = False
    tensors(small_older / "masks/000.pt", mask)
    tensors(tmp_path / "001.pt", ~mask)
    with zipfile.ZipFile(small_older / "masks/001.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "001.pt", "001.pt")
    tensors(small_older / "masks/g22/0/002.pt", mask)
    scene = prepare_scene(small_older, tmp_path / "scene")
    assert [frame.mask for frame in scene.frames[:3]] == ["masks/000.png", "masks/001.png", None]
    store = open_pixels(scene, 1.0)
    np.testing.assert_array_equal(store.mask(0), mask.numpy())
    np.testing.assert_array_equal(store.mask(1), ~mask.numpy())
    assert store.mask(2).all()
    assert "cluster masks" in caplog.text


def test_model_beside_with_the_same_names_gives_points(small_older, survey):
    shutil.copytree(survey / "model", small_older / "model")
    placed = place_survey(read_survey(small_older, "older"))
    assert len(placed.points_xyz) == len(read_colmap(small_older / "model").points_xyz)

"""COLMAP files: written and read back, judged by pycolmap, and broken in every way a disk can break them."""

import struct
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anerf.errors import InputError
from anerf.geometry.camera_models import CAMERA_MODELS
from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.scene.colmap import FILES, ColmapImage, ColmapModel, read_colmap, write_colmap

ECEF = np.array([3942000.0, 510000.0, 4971000.0])


def small_model() -> ColmapModel:
    rng = np.random.default_rng(3)
    cameras = {
        1: Camera("PINHOLE", 64, 48, (50.0, 51.0, 32.0, 24.0)),
        7: Camera("OPENCV", 64, 48, (50.0, 51.0, 32.0, 24.0, 0.01, 0.02, 0.001, 0.002)),
    }
    images = tuple(
        ColmapImage(
            name,
            camera_id,
            look_at(ECEF + rng.normal(size=3), ECEF + rng.normal(size=3) * 30),
            rng.uniform(0, 48, (3, 2)),
            np.array(seen),
        )
        for name, camera_id, seen in [("a.jpg", 1, [0, -1, 1]), ("flug/ü.jpg", 7, [1, 3, -1])]
    )
    return ColmapModel(
        cameras,
        images,
        ECEF + rng.normal(size=(4, 3)),
        rng.integers(0, 256, (4, 3), np.uint8),
        rng.uniform(0, 1, 4),
    )


@pytest.fixture
def folder(tmp_path):
    write_colmap(tmp_path / "model", small_model())
    return tmp_path / "model"


def test_round_trip(folder):
    model, again = small_model(), read_colmap(folder)
    assert again.cameras == model.cameras
    for name in ("points_xyz", "points_rgb", "points_error_px"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    for old, new in zip(model.images, again.images, strict=True):
        assert (new.name, new.camera_id) == (old.name, old.camera_id)
        np.testing.assert_allclose(new.c2w[:, :3], old.c2w[:, :3], atol=1e-14)
        np.testing.assert_allclose(new.c2w[:, 3], old.c2w[:, 3], atol=1e-8)
        np.testing.assert_array_equal(new.observed_xy, old.observed_xy)
        np.testing.assert_array_equal(new.observed_point, old.observed_point)


def test_every_camera_model_there_and_back(tmp_path, lens_cameras):
    cameras = dict(enumerate(lens_cameras.values(), start=1))
    assert len(cameras) == len(CAMERA_MODELS)
    write_colmap(tmp_path / "model", replace(small_model(), cameras=cameras))
    assert read_colmap(tmp_path / "model").cameras == cameras
    pycolmap = pytest.importorskip("pycolmap")
    theirs = pycolmap.Reconstruction(str(tmp_path / "model")).cameras
    found = {number: (camera.model_name, tuple(camera.params)) for number, camera in theirs.items()}
    assert found == {number: (camera.model, camera.params) for number, camera in cameras.items()}


def test_pycolmap_reads_what_we_write(folder):
    pycolmap = pytest.importorskip("pycolmap")
    model, theirs = small_model(), pycolmap.Reconstruction(str(folder))
    assert theirs.num_points3D() == 4
    by_name = {image.name: image for image in theirs.images.values()}
    for image in model.images:
        other = by_name[image.name]
        np.testing.assert_allclose(other.projection_center(), image.c2w[:, 3], atol=1e-8)
        np.testing.assert_allclose(other.viewing_direction(), -image.c2w[:, 2], atol=1e-12)
    assert [p.track.length() for _, p in sorted(theirs.points3D.items())] == [1, 2, 0, 1]


def test_we_read_what_pycolmap_writes(folder, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    (tmp_path / "theirs").mkdir()
    pycolmap.Reconstruction(str(folder)).write_binary(str(tmp_path / "theirs"))
    ours, theirs = read_colmap(folder), read_colmap(tmp_path / "theirs")
    assert theirs.cameras == ours.cameras
    poses = {image.name: image.c2w for image in theirs.images}
    for image in ours.images:
        np.testing.assert_allclose(poses[image.name], image.c2w, atol=1e-8)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: the file is missing; .*model_converter"):
        read_colmap(folder)


def test_text_model_gets_the_remedy(folder):
    (folder / "images.bin").rename(folder / "images.txt")
    with pytest.raises(InputError, match=r"only images.txt is there; .*--output_type BIN"):
        read_colmap(folder)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), share=st.floats(0, 0.999))
def test_truncation_anywhere_is_one_sentence(folder, name, share):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=rf"{name} is damaged .*export the COLMAP model again"):
        read_colmap(folder)
    (folder / name).write_bytes(whole)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), data=st.data())
def test_random_bytes_never_escape_as_another_error(folder, name, data):
    whole = bytearray((folder / name).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6)):
        whole[at] = data.draw(st.integers(0, 255))
    keep = (folder / name).read_bytes()
    (folder / name).write_bytes(whole)
    with suppress(InputError):
        read_colmap(folder)
    (folder / name).write_bytes(keep)


def test_bytes_after_the_end_are_noticed(folder):
    with (folder / "points3D.bin").open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="4 bytes follow"):
        read_colmap(folder)


def test_model_without_images(folder):
    (folder / "images.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(InputError, match="holds no image"):
        read_colmap(folder)


@pytest.mark.parametrize(("pose", "offset"), [(float("nan"), 12), (1e30, 12), (float("inf"), 12 + 5 * 8)])
def test_pose_that_is_none(folder, pose, offset):
    data = bytearray((folder / "images.bin").read_bytes())
    data[offset : offset + 8] = struct.pack("<d", pose)
    (folder / "images.bin").write_bytes(data)
    with pytest.raises(InputError, match=r"the pose of a.jpg is not a rotation"):
        read_colmap(folder)


def test_unknown_camera_model(folder):
    data = bytearray((folder / "cameras.bin").read_bytes())
    data[12:16] = struct.pack("<i", 99)
    (folder / "cameras.bin").write_bytes(data)
    with pytest.raises(InputError, match=r"unknown model number 99.*image_undistorter"):
        read_colmap(folder)


def test_real_model(shared_data):
    model = read_colmap(shared_data / "data/drz/model")
    assert (len(model.images), len(model.points_xyz)) == (229, 12000)
    assert model.points_error_px.mean() == pytest.approx(0.3325, abs=1e-3)

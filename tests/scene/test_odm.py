"""ODM projects, made from known cameras by the inverse formulas: the same cameras and points come out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.cameras import PARAMETER_NAMES, Camera, project
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu
from anerf.scene.colmap import read_colmap
from anerf.scene.intake import read_survey
from anerf.scene.opensfm_lens import OpensfmLens, lens_parameters
from anerf.scene.pixels import open_pixels
from anerf.scene.placing import Placing, place_survey
from anerf.scene.prepare import prepare_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)


def _brown(camera: Camera) -> dict:
    """A pinhole camera as OpenSfM writes it."""
    longer = max(camera.width, camera.height)
    return {
        "projection_type": "brown",
        "width": camera.width,
        "height": camera.height,
        "focal_x": camera.fx / longer,
        "focal_y": camera.fy / longer,
        "c_x": (camera.cx - camera.width / 2) / longer,
        "c_y": (camera.cy - camera.height / 2) / longer,
        **dict.fromkeys(("k1", "k2", "k3", "p1", "p2"), 0.0),
    }


@pytest.mark.parametrize("source", ["caliterra", "made"])
def test_project_of_known_cameras(source, request, make_odm, tmp_path):
    if source == "caliterra":
        root = request.getfixturevalue("shared_data") / "data/caliterra"
    else:
        root = request.getfixturevalue("tiny_survey") / "before"
    model = read_colmap(root / "model")
    place = GeodeticReference.from_ecef(np.mean([image.c2w[:, 3] for image in model.images], axis=0))
    shots = {image.name: (str(image.camera_id), ecef_to_enu(image.c2w, place)) for image in model.images}
    points = ecef_to_enu(model.points_xyz, place), model.points_rgb
    lenses = {str(number): _brown(camera) for number, camera in model.cameras.items()}
    make_odm(tmp_path / "odm", root / "images", shots, lenses, points, place)

    colmap = place_survey(read_survey(root), reference=place)
    odm = place_survey(read_survey(tmp_path / "odm"))
    assert odm.survey.kind == "odm"
    assert odm.reference == place
    assert [p.name for p in odm.survey.photographs] == [p.name for p in colmap.survey.photographs]
    np.testing.assert_allclose(odm.c2w[..., 3], colmap.c2w[..., 3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(odm.c2w[..., :3], colmap.c2w[..., :3], rtol=0, atol=1e-9)
    for a, b in zip(odm.survey.photographs, colmap.survey.photographs, strict=True):
        assert (a.camera.width, a.camera.height) == (b.camera.width, b.camera.height)
        assert not any(a.camera.params[4:])  # no distortion
        got, wanted = ((c.fx, c.fy, c.cx, c.cy) for c in (a.camera, b.camera))
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(odm.points_xyz, colmap.points_xyz, rtol=0, atol=1e-6)
    assert odm.survey.model is not None
    np.testing.assert_array_equal(odm.survey.model.points_rgb, model.points_rgb)


def test_project_becomes_a_scene(small_odm, survey, tmp_path):
    scene = prepare_scene(small_odm, tmp_path / "scene")
    twin = prepare_scene(survey, tmp_path / "twin", placing=Placing(origin=REFERENCE))
    assert scene.made_by.endswith("; reference named by the survey; box from sparse points")
    assert scene.reference == REFERENCE
    assert scene.reprojection is None
    np.testing.assert_allclose(scene.aabb.lo, twin.aabb.lo, atol=1e-6)
    for a, b in zip(scene.frames, twin.frames, strict=True):
        assert (a.id, a.file, a.split, a.sha256) == (b.id, b.file, b.split, b.sha256)
        np.testing.assert_allclose(a.c2w, b.c2w, rtol=0, atol=1e-6)


OPENSFM = {
    "perspective": {"focal": 0.8, "k1": -0.1, "k2": 0.03},
    "simple_radial": {"focal_x": 0.8, "focal_y": 0.81, "c_x": 0.01, "c_y": -0.02, "k1": -0.1},
    "simple_radial, square": {"focal_x": 0.8, "focal_y": 0.8, "c_x": 0.01, "c_y": -0.02, "k1": -0.1},
    "radial": {"focal_x": 0.8, "focal_y": 0.81, "c_x": 0.01, "k1": -0.1, "k2": 0.03},
    "radial, square": {"focal_x": 0.8, "focal_y": 0.8, "c_y": 0.01, "k1": -0.1, "k2": 0.03},
    "brown": {"focal_x": 0.8, "focal_y": 0.81, "k1": -0.1, "k2": 0.03, "p1": 1e-3, "p2": -2e-3, "k3": 0.01},
    "brown, k3 0": {"focal_x": 0.8, "focal_y": 0.81, "k1": -0.1, "k2": 0.03, "p1": 1e-3, "p2": -2e-3},
    "fisheye": {"focal": 0.6, "k1": -0.02, "k2": 0.01},
    "fisheye_opencv": {"focal_x": 0.6, "focal_y": 0.61, "c_x": 0.01, "k1": 0.02, "k2": -0.01, "k3": 3e-3}
    | {"k4": -1e-3},
    "fisheye62": {"focal_x": 0.6, "focal_y": 0.61, "k1": 0.02, "k2": -0.01, "k3": 3e-3}
    | {"p1": 1e-3, "p2": 2e-3},
}
EXPECTED_MODELS = {
    "perspective": "RADIAL",
    "simple_radial": "OPENCV",
    "simple_radial, square": "SIMPLE_RADIAL",
    "radial": "OPENCV",
    "radial, square": "RADIAL",
    "brown": "FULL_OPENCV",
    "brown, k3 0": "OPENCV",
    "fisheye": "RADIAL_FISHEYE",
    "fisheye_opencv": "OPENCV_FISHEYE",
    "fisheye62": "THIN_PRISM_FISHEYE",
}
WIDTH, HEIGHT = 300, 400


def _opensfm_pixels(kind: str, lens: dict, points: np.ndarray) -> np.ndarray:
    """OpenSfM's own projection (camera_instances.h, features.py), with pixel centres at +0.5.

    `points` are in OpenSfM's camera axes.
    """
    x, y, z = points.T
    u = np.stack((x / z, y / z), axis=1)
    if kind.startswith("fisheye"):
        r = np.hypot(x, y)
        u = np.stack((x, y), axis=1) * (np.arctan2(r, z) / r)[:, None]
    k = [lens.get(f"k{n}", 0.0) for n in range(1, 7)]
    r2 = (u * u).sum(axis=1)
    radial = 1 + sum(value * r2 ** (n + 1) for n, value in enumerate(k))
    p1, p2 = lens.get("p1", 0.0), lens.get("p2", 0.0)
    shift = np.stack(
        (
            2 * p1 * u[:, 0] * u[:, 1] + p2 * (r2 + 2 * u[:, 0] ** 2),
            2 * p2 * u[:, 0] * u[:, 1] + p1 * (r2 + 2 * u[:, 1] ** 2),
        ),
        axis=1,
    )
    fx, fy = lens.get("focal_x", lens.get("focal")), lens.get("focal_y", lens.get("focal"))
    normalised = (u * radial[:, None] + shift) * (fx, fy) + (lens.get("c_x", 0.0), lens.get("c_y", 0.0))
    denormalised = normalised * max(WIDTH, HEIGHT) + np.array([WIDTH, HEIGHT]) / 2 - 0.5
    return denormalised + 0.5


@pytest.mark.parametrize("case", OPENSFM)
def test_lenses_project_as_opensfm_does(case):
    kind = case.split(",")[0]
    lens = OpensfmLens(projection_type=kind, width=WIDTH, height=HEIGHT, **OPENSFM[case])
    model, parameters = lens_parameters(lens, (WIDTH, HEIGHT))
    assert model == EXPECTED_MODELS[case]
    if model not in PARAMETER_NAMES:
        pytest.skip(f"the camera model {model} is not there yet")
    points = np.random.default_rng(0).uniform((-0.5, -0.6, 1), (0.5, 0.6, 1.5), (50, 3))
    got, _ = project(Camera(model, WIDTH, HEIGHT, parameters), torch.from_numpy(points * (1, -1, -1)))
    np.testing.assert_allclose(got.numpy(), _opensfm_pixels(kind, OPENSFM[case], points), atol=1e-9)


def test_parameters_of_the_long_models():
    lens = OpensfmLens(projection_type="brown", width=400, height=300, **OPENSFM["brown"])
    values = (320.0, 324.0, 200.0, 150.0, -0.1, 0.03, 1e-3, -2e-3, 0.01, 0, 0, 0)
    assert lens_parameters(lens, (400, 300)) == ("FULL_OPENCV", pytest.approx(values))
    lens = OpensfmLens(projection_type="fisheye_opencv", width=400, height=300, **OPENSFM["fisheye_opencv"])
    values = (240.0, 244.0, 204.0, 150.0, 0.02, -0.01, 3e-3, -1e-3)
    assert lens_parameters(lens, (400, 300)) == ("OPENCV_FISHEYE", pytest.approx(values))
    lens = OpensfmLens(projection_type="fisheye", width=400, height=300, **OPENSFM["fisheye"])
    assert lens_parameters(lens, (400, 300)) == (
        "RADIAL_FISHEYE",
        pytest.approx((240, 200, 150, -0.02, 0.01)),
    )
    lens = OpensfmLens(projection_type="fisheye62", width=400, height=300, **OPENSFM["fisheye62"])
    values = (240, 244, 200, 150, 0.02, -0.01, 1e-3, 2e-3, 3e-3, 0, 0, 0)
    assert lens_parameters(lens, (400, 300)) == ("THIN_PRISM_FISHEYE", pytest.approx(values))


@pytest.mark.parametrize(
    ("kind", "more"), [("spherical", {}), ("dual", {}), ("fisheye624", {}), ("fisheye62", {"k5": 1e-3})]
)
def test_lenses_that_nothing_here_can_be(kind, more):
    lens = OpensfmLens(projection_type=kind, width=4, height=3, focal=0.8, **more)
    with pytest.raises(InputError, match=rf"of the kind {kind} cannot be used; .*--camera-lens"):
        lens_parameters(lens, (4, 3))


def test_camera_file_at_the_root_wins(small_odm, caplog):
    caplog.set_level("INFO")
    lens = {"projection_type": "perspective", "width": 96, "height": 64, "focal": 0.75, "k1": 0.0, "k2": 0.0}
    (small_odm / "cameras.json").write_text(json.dumps({"a b 48 32 brown 0.8": lens}))
    photograph = read_survey(small_odm).photographs[0]
    assert photograph.camera == Camera("RADIAL", 48, 32, (36.0, 24.0, 16.0, 0.0, 0.0))
    assert "cameras.json replaces what" in caplog.text


def test_camera_file_of_other_cameras_changes_nothing(small_odm):
    before = read_survey(small_odm).photographs[0].camera
    other = {"projection_type": "perspective", "width": 48, "height": 32, "focal": 2.0}
    (small_odm / "cameras.json").write_text(json.dumps({"another": other}))
    assert read_survey(small_odm).photographs[0].camera == before


def test_largest_reconstruction_is_taken(small_odm, caplog):
    file = small_odm / "opensfm/reconstruction.json"
    (whole,) = json.loads(file.read_text())
    part = {**whole, "shots": {"000.jpg": whole["shots"]["000.jpg"]}}
    whole["shots"].pop("000.jpg")
    file.write_text(json.dumps([part, whole]))
    assert read_survey(small_odm).photographs[0].name == "001.jpg"
    assert "holds 2 reconstructions: the largest is taken (9 photographs), the others' 1" in caplog.text


def test_masks_beside_the_photographs(small_odm, tmp_path):
    mask = np.full((32, 48), 255, np.uint8)
    mask[:, :10] = 0
    Image.fromarray(mask).save(small_odm / "images/003_mask.png")
    scene = prepare_scene(small_odm, tmp_path / "scene")
    assert [frame.file for frame in scene.frames if frame.mask] == ["images/003.jpg"]
    assert len(scene.frames) == 10
    np.testing.assert_array_equal(open_pixels(scene, 1.0).mask(3), mask > 0)


def test_photographs_stored_at_half_the_size(small_odm):
    file = small_odm / "opensfm/reconstruction.json"
    (whole,) = json.loads(file.read_text())
    for lens in whole["cameras"].values():
        lens |= {"width": 97, "height": 64}
    file.write_text(json.dumps([whole]))
    assert read_survey(small_odm).photographs[0].camera.fx == pytest.approx(40)


def test_place_may_stand_in_the_reconstruction_or_come_from_the_user(small_odm, tmp_path, caplog):
    expected = place_survey(read_survey(small_odm)).c2w
    (small_odm / "opensfm/reference_lla.json").unlink()
    with pytest.raises(InputError, match="--enu-ref LATITUDE,LONGITUDE,HEIGHT"):
        prepare_scene(small_odm, tmp_path / "scene")
    assert "opensfm/reference_lla.json is missing" in caplog.text
    placed = place_survey(read_survey(small_odm), Placing(origin=REFERENCE))
    np.testing.assert_allclose(placed.c2w, expected)
    file = small_odm / "opensfm/reconstruction.json"
    (whole,) = json.loads(file.read_text())
    whole["reference_lla"] = {"latitude": 51.5, "longitude": 7.4, "altitude": 200.0}
    file.write_text(json.dumps([whole]))
    assert read_survey(small_odm).reference == REFERENCE


def test_half_turn_and_no_turn(small_odm):
    file = small_odm / "opensfm/reconstruction.json"
    (whole,) = json.loads(file.read_text())
    whole["shots"]["000.jpg"] |= {"rotation": [np.pi, 0.0, 0.0], "translation": [1.0, 2.0, 3.0]}
    whole["shots"]["001.jpg"] |= {"rotation": [0.0, 0.0, 0.0], "translation": [1.0, 2.0, 3.0]}
    file.write_text(json.dumps([whole]))
    down, up = (photograph.c2w for photograph in read_survey(small_odm).photographs[:2])
    # Half a turn about x: the camera looks down, its top to the north; none: it looks up.
    np.testing.assert_allclose(down, [[1, 0, 0, -1], [0, 1, 0, 2], [0, 0, 1, 3]], atol=1e-15)
    np.testing.assert_allclose(up, [[1, 0, 0, -1], [0, -1, 0, -2], [0, 0, -1, -3]], atol=1e-15)


def test_photographs_of_two_sizes_share_a_lens(small_odm: Path):
    (small_odm / "images/002.jpg").unlink()
    Image.new("RGB", (96, 64)).save(small_odm / "images/002.jpg")
    small, large = (photograph.camera for photograph in read_survey(small_odm).photographs[1:3])
    assert (large.width, large.height) == (96, 64)
    assert large.params[:4] == tuple(2 * value for value in small.params[:4])

"""`anerf render`: the very picture that the renderer makes, from each way to say where the camera is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.checkpoint.load import load_scene_model
from anerf.cli.render import render
from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.canned_paths import canned_path
from anerf.geometry.geodesy import enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.products.layers import layer_picture
from anerf.products.path_file import save_path
from anerf.render.picture import render_picture

SIZE, FOV = (40, 30), 55.0


@pytest.fixture
def rendered(checkpoint, tmp_path, capsys):
    """Renders to a file of some name; the file and what was told."""

    def make(name="a.png", **options):
        defaults = {"samples": 4, "prefix": "last", "as_json": True}
        render(str(checkpoint), tmp_path / name, **{**defaults, **options})
        return tmp_path / name, json.loads(capsys.readouterr().out)

    return make


def pose(scene):
    x, y, z = scene.origin
    return look_at((x + 10, y - 60, z + 60), (x, y, z))


def expected(checkpoint, camera, c2w, **options):
    return render_picture(load_scene_model(str(checkpoint), "last"), camera, c2w, samples=4, **options)


def pixels(file):
    with Image.open(file) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("form", ["rows", "object", "text"])
def test_a_pose_from_a_file_is_rendered_bit_for_bit(checkpoint, tiny_scene, rendered, tmp_path, form):
    c2w = pose(tiny_scene)
    rows = "\n".join(" ".join(map(repr, row)) for row in c2w.tolist())
    texts = {"rows": json.dumps(c2w.tolist()), "object": json.dumps({"c2w": c2w.tolist()}), "text": rows}
    (tmp_path / "pose").write_text(texts[form])
    file, told = rendered(pose=tmp_path / "pose", size=SIZE, fov=FOV)
    picture = expected(checkpoint, Camera.from_fov(*SIZE, FOV), c2w)
    np.testing.assert_array_equal(pixels(file), layer_picture(picture, "rgb"))
    assert (told["width"], told["height"], told["step"], told["c2w"]) == (*SIZE, 1, c2w.tolist())


def test_a_place_on_earth_is_looked_at(checkpoint, tiny_scene, rendered):
    c2w = pose(tiny_scene)
    places = np.array([c2w[:, 3], c2w[:, 3] - 85 * c2w[:, 2]])
    eye, target = (tuple(p) for p in enu_to_geodetic(places, tiny_scene.reference).tolist())
    file, told = rendered("a.npy", look_at=target, eye=eye, size=SIZE, fov=FOV, layer="depth")
    np.testing.assert_allclose(told["c2w"], c2w, atol=1e-6)
    assert (told["latitude_deg"], told["longitude_deg"]) == pytest.approx(eye[:2], abs=1e-9)
    depth_m = expected(checkpoint, Camera.from_fov(*SIZE, FOV), np.array(told["c2w"])).depth_m
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), depth_m.astype(np.float32))


def test_a_photograph_is_rendered_with_its_own_camera_and_look(checkpoint, tiny_scene, rendered):
    frame = tiny_scene.frames_of("after")[1]
    half = frame.camera.width // 2, frame.camera.height // 2
    file, told = rendered(frame=Path(frame.file).name, size=half)
    picture = expected(checkpoint, frame.camera.scaled(0.5), frame.c2w, flight="after")
    np.testing.assert_array_equal(pixels(file), layer_picture(picture, "rgb"))
    assert told["flight"] == "after"
    assert rendered(frame=tiny_scene.frames_of("train")[0].file, size=half)[1]["flight"] == "survey"


def test_a_moment_of_a_path_is_rendered(tiny_scene, rendered, tmp_path):
    path = canned_path("turntable", tiny_scene.aabb, tiny_scene.altitude_range_m[1])
    save_path(tmp_path / "path.json", path, tiny_scene.reference, tiny_scene.name)
    canned, told = rendered(path="turntable", at=3.5, size=SIZE)
    saved, _ = rendered("b.png", path=str(tmp_path / "path.json"), at=3.5, size=SIZE)
    np.testing.assert_allclose(told["c2w"], path.at(3.5).c2w)
    np.testing.assert_array_equal(pixels(canned), pixels(saved))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_the_ending_says_the_format(rendered, name):
    file, told = rendered(name, path="turntable", size=SIZE, layer="depth")
    with Image.open(file) as picture:
        assert (picture.format, picture.size) == ({"a.jpg": "JPEG", "a.webp": "WEBP"}[name], SIZE)
    assert told["depth_range_m"][0] < told["depth_range_m"][1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "given by nothing: give one of --pose"),
        ({"path": "turntable", "frame": "a"}, "given by --frame and --path"),
        ({"path": "turntable", "eye": (0.0, 0.0, 0.0)}, "--look-at and --from belong together"),
        ({"path": "orbit"}, "--path orbit is unknown: give one of spiral_in"),
        ({"path": "turntable", "at": 13.0}, "--at 13 is not on the path: give 0 to 12 seconds"),
        ({"frame": "none.jpg"}, "has no photograph none.jpg"),
        ({"path": "turntable", "size": (0, 10)}, "--size 0 10 cannot be"),
        ({"path": "turntable", "samples": 0}, "--samples 0 cannot be"),
        ({"path": "turntable", "flight": "never"}, "flight 'never' is unknown"),
        ({"path": "turntable", "expert": 4, "size": SIZE}, "expert 4 does not exist"),
        ({"name": "a.gif", "path": "turntable"}, "ends with '.gif': give one of .png"),
        ({"name": "no/a.png", "path": "turntable"}, "there is no folder"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(rendered, options, reason):
    with pytest.raises(InputError, match=reason):
        rendered(**options)


def test_a_pose_that_is_no_matrix_is_refused(rendered, tmp_path):
    for text in ("", "1 2 3", "[[1, 2], [3]]", '{"pose": 1}', "a b", "[" * 50_000):
        (tmp_path / "pose").write_text(text)
        with pytest.raises(InputError, match="give 3 or 4 rows of 4"):
            rendered(pose=tmp_path / "pose")

"""Photographs that are unusual but fine: their pixels and names arrive as people expect."""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu
from anerf.scene.colmap import read_colmap, write_colmap
from anerf.scene.pixels import open_pixels
from anerf.scene.prepare import prepare_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)
SIZE = 48, 32


def _seen(survey: Path, tmp_path: Path, i: int = 2) -> np.ndarray:
    """Photograph `i` as learning sees it."""
    return open_pixels(prepare_scene(survey, tmp_path / "scene"), 1.0).image(i).astype(int)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8)


def _png_16(path: Path, rgb: np.ndarray) -> None:
    """A PNG with 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _tiff_16(path: Path, rgb: np.ndarray) -> None:
    """A little-endian TIFF of one strip with 16 bits a channel."""
    height, width, _ = rgb.shape
    data = rgb.astype("<u2").tobytes()
    bits_at = 8 + len(data)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits = struct.pack("<HHHH", 16, 16, 16, 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, bits_at + 8) + data + bits + directory + bytes(4))


@pytest.mark.parametrize("write", [_png_16, _tiff_16])
def test_sixteen_bits_of_colour_keep_their_upper_eight(write, survey, tmp_path):
    wide = np.random.default_rng(4).integers(0, 65536, (32, 48, 3))
    write(survey / "images/002.jpg", wide)
    np.testing.assert_array_equal(_seen(survey, tmp_path), wide >> 8)


def test_cmyk_becomes_rgb(survey, tmp_path):
    inks = np.zeros((32, 48, 4), np.uint8)
    inks[:, :16], inks[:, 16:32], inks[:, 32:] = (200, 30, 0, 0), (0, 100, 250, 60), (0, 0, 0, 255)
    Image.fromarray(inks, mode="CMYK").save(survey / "images/002.jpg", quality=100)
    with Image.open(survey / "images/002.jpg") as picture:
        assert picture.mode == "CMYK"
    seen = _seen(survey, tmp_path)
    # Subtractive: each ink takes its share of the light, black of what is left.
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    for column in (4, 24, 44):
        np.testing.assert_allclose(seen[16, column], expected[16, column], atol=4)


def test_grey_becomes_three_equal_channels(survey, tmp_path, noise):
    grey = Image.new("L", SIZE, 77)
    grey.save(survey / "images/002.jpg")
    assert (_seen(survey, tmp_path) == 77).all()


def test_palette_has_its_colours(survey, tmp_path):
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    picture.save(survey / "images/002.jpg", format="PNG")
    np.testing.assert_array_equal(_seen(survey, tmp_path)[5, 5], (10, 200, 30))


def test_opaque_alpha_does_no_harm(survey, tmp_path, noise):
    opaque = np.dstack((noise, np.full((32, 48), 255, np.uint8)))
    Image.fromarray(opaque).save(survey / "images/002.jpg", format="PNG")
    np.testing.assert_array_equal(_seen(survey, tmp_path), noise)


def test_links_to_pictures_elsewhere_are_followed(survey, tmp_path):
    disk = tmp_path / "disk"
    (survey / "images").rename(disk)
    (survey / "images").symlink_to(disk)
    (disk / "002.jpg").rename(tmp_path / "elsewhere.jpg")
    (disk / "002.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    scene = prepare_scene(survey, tmp_path / "scene")
    copied = scene.root / "images/002.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == (tmp_path / "elsewhere.jpg").read_bytes()


NAMES = ("Straße 1 é.jpg", "flug 2/Ünïcode ☂.jpg", "航拍.jpg")


@pytest.mark.parametrize("kind", ["colmap", "transforms"])
def test_names_in_any_script(kind, survey, tmp_path):
    model = read_colmap(survey / "model")
    for image, name in zip(model.images, NAMES, strict=False):
        (survey / "images" / name).parent.mkdir(exist_ok=True)
        (survey / "images" / image.name).rename(survey / "images" / name)
    renamed = [replace(image, name=name) for image, name in zip(model.images, NAMES, strict=False)]
    images = (*renamed, *model.images[3:])
    write_colmap(survey / "model", replace(model, images=images))
    if kind == "transforms":
        frames = [
            {
                "file_path": f"images/{image.name}",
                "transform_matrix": [*ecef_to_enu(image.c2w, REFERENCE).tolist(), [0, 0, 0, 1]],
            }
            for image in images
        ]
        data = {"w": 48, "h": 32, "fl_x": 40, "fl_y": 41, "cx": 24, "cy": 16, "frames": frames}
        data["enu_reference"] = {"latitude_deg": 51.5, "longitude_deg": 7.4, "altitude_m": 200}
        text = json.dumps(data, ensure_ascii=False)
        (survey / "transforms.json").write_text(text, encoding="utf-8")
    scene = prepare_scene(survey, tmp_path / "scene", kind=kind)
    files = [frame.file for frame in scene.frames]
    assert {f"images/{name}" for name in NAMES} < set(files)
    assert len(scene.points()[0]) == 300
    store = open_pixels(scene, 1.0)
    for name in NAMES:
        expected = np.asarray(Image.open(survey / "images" / name))
        np.testing.assert_array_equal(store.image(files.index(f"images/{name}")), expected)


def test_points_far_away_do_not_move_the_box(survey, tmp_path):
    before = prepare_scene(survey, tmp_path / "before").aabb
    model = read_colmap(survey / "model")
    points = model.points_xyz.copy()
    points[[17, 40, 41]] += ((1e6, 1e6, 1e6), (-1e5, 0, 0), (0, 0, 2e4))
    write_colmap(survey / "model", replace(model, points_xyz=points))
    after = prepare_scene(survey, tmp_path / "after").aabb
    np.testing.assert_allclose((after.lo, after.hi), (before.lo, before.hi), atol=2)

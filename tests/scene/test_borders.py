"""Borders of undistorted photographs: drawn by hand, found in real ones, and in scenes made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.geometry.cameras import Camera, seen_pixels
from anerf.scene.borders import LEAST_PIXELS, NEARLY_BLACK, border_of, border_of_photographs
from anerf.scene.colmap import ColmapModel, read_colmap, write_colmap
from anerf.scene.prepare import prepare_scene
from anerf.scene.update import update_scene

BORDER = np.zeros((60, 80), bool)
BORDER[:2, 10:70] = BORDER[:, :3] = True
WIDE = np.zeros((60, 80), bool)
WIDE[:3, 9:71] = WIDE[:, :4] = True


def _pictures(n: int = 5, border: np.ndarray = BORDER, dark: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(NEARLY_BLACK + 1, 256, (n, *border.shape, 3), np.uint8))
    for picture in pictures:
        picture[border] = rng.integers(0, dark + 1, (border.sum(), 3))
    return pictures


@pytest.mark.parametrize("dark", [0, NEARLY_BLACK])
def test_the_border_and_a_pixel_more(dark):
    np.testing.assert_array_equal(border_of(_pictures(dark=dark)), WIDE)


def test_a_way_round_many_corners_is_followed():
    snake = np.zeros((60, 80), bool)
    snake[::4, 1:-1] = True
    for i, row in enumerate(range(0, 56, 4)):
        snake[row : row + 4, -2 if i % 2 else 1] = True
    snake[0, 5] = True
    found = border_of(_pictures(border=snake))
    assert found is None  # three in four pixels belong to it or are too many
    thin = snake & (np.indices(snake.shape)[0] < 30)
    found = border_of(_pictures(border=thin))
    assert found is not None
    assert found[thin].all()


def test_what_is_black_in_one_picture_only_or_inside_is_no_border():
    pictures = _pictures()
    pictures[0][40:, 60:] = 0
    for picture in pictures:
        picture[20:30, 20:30] = 0
    # Touches the border only across a corner.
    for picture in pictures:
        picture[2:8, 70:76] = 0
    np.testing.assert_array_equal(border_of(pictures), WIDE)


def test_no_border():
    none = np.zeros_like(BORDER)
    assert border_of([]) is None
    assert border_of(_pictures(border=none)) is None
    assert border_of(_pictures(2)) is None
    few = none.copy()
    few[0, : LEAST_PIXELS - 1] = True
    assert border_of(_pictures(border=few)) is None
    few[0, LEAST_PIXELS - 1] = True
    assert border_of(_pictures(border=few)) is not None
    night = none.copy()
    night[:20] = True
    assert border_of(_pictures(border=night)) is None


def test_real_borders(shared_data):
    """Ours lie within the masks that the survey brought, some pixels wider, and hold what is black."""
    drz = shared_data / "data/drz"
    files: dict[str, list[Path]] = {}
    for frame in json.loads((drz / "transforms.json").read_text())["frames"]:
        files.setdefault(frame["mask_path"], []).append(drz / frame["file_path"])
    assert len(files) == 2
    for mask, photographs in files.items():
        theirs = np.asarray(Image.open(drz / mask).convert("L")) == 0
        ours = border_of_photographs(photographs)
        assert ours is not None
        assert not (ours & ~theirs).any()
        some = np.stack([np.asarray(Image.open(file)).max(axis=2) for file in photographs[::4]])
        black = theirs & (np.median(some, axis=0) <= NEARLY_BLACK)
        assert black.sum() > 3000
        assert (ours & black).sum() > 0.97 * black.sum()


def test_real_photographs_without_a_border(shared_data):
    assert border_of_photographs(sorted((shared_data / "data/caliterra/images").iterdir())) is None


def _blacken(survey: Path, names: list[str], columns: int = 2) -> None:
    for name in names:
        pixels = np.asarray(Image.open(survey / "images" / name)).copy()
        pixels[:, :columns] = 0
        Image.fromarray(pixels).save(survey / "images" / name, quality=100, subsampling=0)


def test_a_scene_of_undistorted_photographs_has_a_mask(survey, tmp_path, caplog):
    names = [f"{number:03d}.jpg" for number in range(10)]
    _blacken(survey, names)
    (survey / "masks").mkdir()
    own = np.full((32, 48), 255, np.uint8)
    own[3, 4] = 0
    Image.fromarray(own).save(survey / "masks/000.jpg.png")
    with caplog.at_level("INFO"):
        scene = prepare_scene(survey, tmp_path / "scene")
    assert "96 pixels of 9 photographs such as 001.jpg are not learned from: black border" in caplog.text
    masks = {frame.file.removeprefix("images/"): frame.mask for frame in scene.frames}
    assert masks.pop("000.jpg") == "masks/000.jpg.png"
    assert set(masks.values()) == {"masks/border-0.png"}
    mask = np.asarray(Image.open(scene.root / "masks/border-0.png"))
    np.testing.assert_array_equal(mask, np.where(np.arange(48) < 3, 0, 255)[None].repeat(32, axis=0))
    np.testing.assert_array_equal(np.asarray(Image.open(scene.root / "masks/000.jpg.png")), own)


def test_a_later_flight_gets_its_own(survey, tmp_path, make_survey):
    scene = prepare_scene(survey, tmp_path / "scene")
    assert not (scene.root / "masks").exists()
    make_survey(tmp_path / "plain", n=4, prefix="a", seed=1)
    assert not (update_scene(scene.root, tmp_path / "plain", "plain").root / "masks/plain").exists()
    make_survey(tmp_path / "later", n=4, prefix="b", seed=2)
    _blacken(tmp_path / "later", [f"b{number:03d}.jpg" for number in range(4)], columns=3)
    later = update_scene(scene.root, tmp_path / "later", "later")
    assert {frame.mask for frame in later.frames_of("later")} == {"masks/later/border-0.png"}
    assert (scene.root / "masks/later/border-0.png").is_file()


def test_where_the_lens_has_no_picture_is_masked_beside_the_users_mask(survey, tmp_path):
    model = read_colmap(survey / "model")
    # r (1 - 0.55 r^2) folds back at 0.519: within the corners of this picture.
    camera = Camera("SIMPLE_RADIAL", 48, 32, (48.0, 24.0, 16.0, -0.55))
    write_colmap(
        survey / "model",
        ColmapModel({1: camera}, model.images, model.points_xyz, model.points_rgb, model.points_error_px),
    )
    (survey / "masks").mkdir()
    own = np.full((32, 48), 255, np.uint8)
    own[10:12] = 0
    Image.fromarray(own).save(survey / "masks/000.jpg.png")
    scene = prepare_scene(survey, tmp_path / "scene")
    seen = seen_pixels(camera)
    assert seen is not None
    assert 0.5 < seen.mean() < 1
    for frame in scene.frames:
        mask = np.asarray(Image.open(scene.root / str(frame.mask))) > 0
        np.testing.assert_array_equal(mask, seen & (own > 0) if frame.file == "images/000.jpg" else seen)

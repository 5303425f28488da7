"""Colours mean what their legends say, and sheets hold their pictures unscaled in colour."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.products.colormap import (
    MAGMA,
    VIRIDIS,
    depth_picture,
    depth_range_m,
    opacity_picture,
    to_uint8,
)
from anerf.products.sheet import Tile, ViewComparison, comparison_sheet, draw_sheet, save_picture


def _view(title: str = "view") -> ViewComparison:
    y, x = np.mgrid[0:60, 0:80] / 80
    photograph = np.stack([x, y, 1 - x], -1).astype(np.float32)
    depth_m = (50 + 20 * x).astype(np.float32)
    return ViewComparison(
        title,
        photograph,
        photograph * 0.5,
        photograph * 0.9,
        depth_m,
        depth_m + 1,
        "held out",
        "PSNR 12.0 dB",
    )


@pytest.mark.parametrize("ramp", [VIRIDIS, MAGMA])
def test_ramps_run_from_dark_to_bright(ramp) -> None:
    colors = ramp(np.linspace(0, 1, 64)).astype(float)
    luminance = colors @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert (ramp(np.array([-5.0, 2.0])) == ramp(np.array([0.0, 1.0]))).all()


def test_viridis_has_its_known_ends_and_interpolates() -> None:
    assert VIRIDIS(np.array([0.0, 1.0])).tolist() == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]
    # Half way between the first two of ten stops.
    assert VIRIDIS(np.array(1 / 18)).tolist() == [0x46, 0x14, 0x66]


def test_depth_colours_span_the_range_and_nothing_is_grey() -> None:
    depth = np.array([[10.0, 20.0, 15.0]], np.float32)
    picture = depth_picture(depth, np.array([[1.0, 1.0, 0.1]], np.float32), (10, 20))
    assert picture[0, 0].tolist() == VIRIDIS(np.array(0.0)).tolist()
    assert picture[0, 1].tolist() == VIRIDIS(np.array(1.0)).tolist()
    assert len(set(picture[0, 2][:2].tolist())) == 1


def test_depth_range_ignores_what_is_transparent_and_never_collapses() -> None:
    depth = np.array([5.0, 5.0, 900.0])
    assert depth_range_m(depth, np.array([1.0, 1.0, 0.0])) == (5, 6)
    assert depth_range_m(depth, np.zeros(3)) == (0, 1)


def test_bytes_are_rounded_and_clipped() -> None:
    assert to_uint8(np.array([-1, 0, 0.5, 1, 2])).tolist() == [0, 0, 128, 255, 255]
    assert opacity_picture(np.array([[0.2]])).tolist() == [[[51, 51, 51]]]


def test_sheet_shows_each_picture_in_its_column() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [Tile(np.full((30, 40, 3), color, np.uint8), "PSNR 24.1 dB") for color in colors]
    sheet = np.asarray(draw_sheet("Title", ("a", "b", "c"), [("row", tiles), ("row", tiles)], tile_width=80))
    for i, color in enumerate(colors):
        found = np.argwhere((sheet == color).all(-1))
        assert len(found) == 2 * 80 * 60
        assert (found[:, 1].min(), found[:, 1].max()) == (16 + i * 88, 16 + i * 88 + 79)


def test_captions_never_run_into_their_neighbours() -> None:
    tiles = [
        Tile(np.zeros((30, 40, 3), np.uint8), "a very long caption " * 9),
        Tile(np.zeros((30, 40, 3), np.uint8)),
    ]
    sheet = np.asarray(draw_sheet("Title " * 99, ("a" * 99, "b"), [("row " * 99, tiles)], tile_width=80))
    assert (sheet[:, 16 + 80 : 16 + 88][-40:] == 255).all()
    assert (sheet[:, -16:] == 255).all()


def test_comparison_has_six_columns_and_legends(tmp_path: Path) -> None:
    sheet = comparison_sheet("Adaptation", [_view("one"), _view("two")], tile_width=160)
    assert sheet.width == 2 * 16 + 6 * 168 - 8
    save_picture(tmp_path / "out" / "sheet.png", sheet)
    with Image.open(tmp_path / "out" / "sheet.png") as back:
        assert back.size == sheet.size
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sheet.png"]


def test_errors_are_shown_four_times_as_large_and_empty_depth_is_grey() -> None:
    grey = np.full((60, 80, 3), 0.5, np.float32)
    depth_m = np.full((60, 80), 60, np.float32)
    depth_m[:, 40:] = 70
    none = np.zeros((60, 80), np.float32)
    view = ViewComparison("view", grey, grey, grey + 0.125, none, depth_m)
    shown = np.asarray(comparison_sheet("Adaptation", [view], tile_width=80))
    middle = 16 + 2 * 20 + 8 + 20 + 30  # margin, title and heads, gap, row's title, half a tile

    def color(column: int, x: int) -> list[int]:
        return shown[middle, 16 + 88 * column + x].tolist()

    assert color(1, 40) == [128, 128, 128]
    assert color(2, 40) == [159, 159, 159]
    assert color(3, 40) == MAGMA(np.array(0.5)).tolist()  # 4 x 0.125
    assert color(4, 40) == depth_picture(none[:1, :1], none[:1, :1], (0, 1))[0, 0].tolist()
    assert color(5, 10) == VIRIDIS(np.array(0.0)).tolist()
    assert color(5, 70) == VIRIDIS(np.array(1.0)).tolist()


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        comparison_sheet("Adaptation", [])

"""A picture sheet to look at: a row a view; photograph, before, after, error, depths; figures under each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from anerf.products.colormap import MAGMA, VIRIDIS, Ramp, Range, depth_picture, depth_range_m, to_uint8

_PAPER, _INK, _SOFT = (255, 255, 255), (24, 24, 28), (96, 96, 104)
_GAP, _MARGIN, _LINE = 8, 16, 20
_BAR_HEIGHT = 14
ERROR_GAIN = 4


@dataclass(frozen=True)
class ViewComparison:
    """One view before and after adapting, beside its photograph.

    Pictures are float sRGB (h, w, 3) in [0, 1]; depth is in metres along the ray, 0 where nothing is.
    Captions stand below their pictures, such as "PSNR 24.1 dB".
    """

    title: str
    photograph: Float[np.ndarray, "h w 3"]
    before: Float[np.ndarray, "h w 3"]
    after: Float[np.ndarray, "h w 3"]
    depth_before_m: Float[np.ndarray, "h w"]
    depth_after_m: Float[np.ndarray, "h w"]
    photograph_caption: str = ""
    before_caption: str = ""
    after_caption: str = ""
    depth_before_caption: str = ""
    depth_after_caption: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture, uint8 (h, w, 3), and the line below it."""

    picture: UInt8[np.ndarray, "h w 3"]
    caption: str = ""


@dataclass(frozen=True)
class Legend:
    """What the colours of the column with index `column` mean: `ramp` runs from `low` to `high`."""

    column: int
    text: str
    ramp: Ramp
    low: str
    high: str


def comparison_sheet(title: str, views: Sequence[ViewComparison], tile_width: int = 320) -> Image.Image:
    """The sheet of `views`: photograph, before, after, what is still wrong, depth before and after.

    Errors are shown `ERROR_GAIN` times as large; depth has one scale for all rows, which the legend names.

    Raises:
        ValueError: there are no views.
    """
    if not views:
        raise ValueError("a sheet needs at least one view")
    range_m = _common_range(views)
    columns = ("photograph", "before", "after", f"error after, x{ERROR_GAIN}", "depth before", "depth after")
    legends = (
        Legend(3, "|after - photograph|, mean of the channels", MAGMA, "0", f"{255 / ERROR_GAIN:.0f} of 255"),
        Legend(
            5,
            "depth along the ray; grey: nothing there",
            VIRIDIS,
            f"{range_m[0]:.1f} m",
            f"{range_m[1]:.1f} m",
        ),
    )
    rows = [(view.title, _tiles(view, range_m)) for view in views]
    return draw_sheet(title, columns, rows, legends, tile_width)


def draw_sheet(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Tile]]],
    legends: Sequence[Legend] = (),
    tile_width: int = 320,
) -> Image.Image:
    """Titled rows of tiles under column heads, legends below their columns. Pictures keep their shape."""
    heights = [
        max(round(tile.picture.shape[0] * tile_width / tile.picture.shape[1]) for tile in tiles)
        for _, tiles in rows
    ]
    pitch = tile_width + _GAP
    width = 2 * _MARGIN + pitch * len(columns) - _GAP
    head = _MARGIN + 2 * _LINE + _GAP
    foot = _GAP + 3 * _LINE if legends else 0
    height = head + sum(h + 2 * _LINE + _GAP for h in heights) + foot + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_MARGIN, _MARGIN), title, 20, _INK, width - 2 * _MARGIN)
    for i, column in enumerate(columns):
        _text(draw, (_MARGIN + i * pitch, head - _LINE), column, 14, _SOFT, tile_width)
    y = head
    for (row_title, tiles), row_height in zip(rows, heights, strict=True):
        _text(draw, (_MARGIN, y), row_title, 14, _INK, width - 2 * _MARGIN)
        for i, tile in enumerate(tiles):
            x = _MARGIN + i * pitch
            sheet.paste(_resized(tile.picture, tile_width), (x, y + _LINE))
            _text(draw, (x, y + _LINE + row_height + 3), tile.caption, 13, _INK, tile_width)
        y += row_height + 2 * _LINE + _GAP
    for legend in legends:
        _draw_legend(sheet, draw, legend, (_MARGIN + legend.column * pitch, y + _GAP), tile_width - _MARGIN)
    return sheet


def save_picture(path: Path, picture: Image.Image | UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a PNG at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(partial, format="PNG")
    partial.replace(path)


def _tiles(view: ViewComparison, range_m: Range) -> tuple[Tile, ...]:
    error = np.abs(view.after - view.photograph).mean(-1)
    return (
        Tile(to_uint8(view.photograph), view.photograph_caption),
        Tile(to_uint8(view.before), view.before_caption),
        Tile(to_uint8(view.after), view.after_caption),
        Tile(MAGMA(ERROR_GAIN * error), f"mean {error.mean() * 255:.1f} of 255"),
        Tile(_depth_tile(view.depth_before_m, range_m), view.depth_before_caption),
        Tile(_depth_tile(view.depth_after_m, range_m), view.depth_after_caption),
    )


def _depth_tile(depth_m: Float[np.ndarray, "h w"], range_m: Range) -> UInt8[np.ndarray, "h w 3"]:
    return depth_picture(depth_m, _something(depth_m), range_m)


def _common_range(views: Sequence[ViewComparison]) -> Range:
    depths_m = [depth_m.ravel() for view in views for depth_m in (view.depth_before_m, view.depth_after_m)]
    all_m = np.concatenate(depths_m)
    return depth_range_m(all_m, _something(all_m))


def _something(depth_m: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Opacity as far as depth tells it: 0 where nothing is."""
    return (depth_m > 0).astype(np.float32)


def _resized(picture: UInt8[np.ndarray, "h w 3"], width: int) -> Image.Image:
    image = Image.fromarray(picture)
    height = round(image.height * width / image.width)
    # Small renders are shown pixel by pixel: a sheet must not make them look smoother than they are.
    how = Image.Resampling.NEAREST if image.width < width else Image.Resampling.BOX
    return image.resize((width, height), how)


def _draw_legend(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, legend: Legend, at: tuple[int, int], width: int
) -> None:
    x, y = at
    _text(draw, (x, y), legend.text, 13, _SOFT, width)
    bar = legend.ramp(np.tile(np.linspace(0, 1, width, dtype=np.float32), (_BAR_HEIGHT, 1)))
    sheet.paste(Image.fromarray(bar), (x, y + _LINE))
    below = y + _LINE + _BAR_HEIGHT + 3
    draw.text((x, below), legend.low, _INK, _font(13))
    draw.text((x + width, below), legend.high, _INK, _font(13), anchor="ra")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    color: tuple[int, int, int],
    room: int,
) -> None:
    """One line, cut with an ellipsis where it would run into its neighbour."""
    font = _font(size)
    shown = text
    while shown and draw.textlength(shown, font) > room:
        shown = shown.removesuffix("\u2026")[:-1] + "\u2026"
        if shown == "\u2026":
            break
    draw.text(at, shown, color, font)

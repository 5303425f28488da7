"""A picture sheet to look at: a row a view; truth, before, after, difference, depth; figures under each."""

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


@dataclass(frozen=True)
class ViewComparison:
    """One view before and after learning or adapting.

    Pictures are float sRGB (h, w, 3) in [0, 1], depth in metres. Captions stand below their
    pictures, such as "PSNR 24.1 dB".
    """

    title: str
    truth: Float[np.ndarray, "h w 3"]
    before: Float[np.ndarray, "h w 3"]
    after: Float[np.ndarray, "h w 3"]
    depth_m: Float[np.ndarray, "h w"]
    opacity: Float[np.ndarray, "h w"]
    truth_caption: str = ""
    before_caption: str = ""
    after_caption: str = ""


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
    """The sheet of `views`: truth, before, after, what changed between the two, depth after.

    Difference and depth have one scale for all rows, which the legends at the foot name.
    """
    if not views:
        raise ValueError("a sheet needs at least one view")
    range_m = _common_range(views)
    changes = [np.abs(view.after - view.before).mean(-1) for view in views]
    most = max(0.05, float(np.percentile(np.concatenate([c.ravel() for c in changes]), 99.5)))
    rows = [
        (
            view.title,
            (
                Tile(to_uint8(view.truth), view.truth_caption),
                Tile(to_uint8(view.before), view.before_caption),
                Tile(to_uint8(view.after), view.after_caption),
                Tile(MAGMA(change / most), f"mean change {change.mean() * 255:.1f} of 255"),
                Tile(depth_picture(view.depth_m, view.opacity, range_m), _depth_caption(view)),
            ),
        )
        for view, change in zip(views, changes, strict=True)
    ]
    legends = (
        Legend(3, "difference, mean of the channels", MAGMA, "0", f"{most * 255:.0f} of 255"),
        Legend(
            4,
            "depth along the ray; grey: nothing there",
            VIRIDIS,
            f"{range_m[0]:.1f} m",
            f"{range_m[1]:.1f} m",
        ),
    )
    columns = ("truth", "before", "after", "difference: |after - before|", "depth, after")
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


def _common_range(views: Sequence[ViewComparison]) -> Range:
    return depth_range_m(
        np.concatenate([view.depth_m.ravel() for view in views]),
        np.concatenate([view.opacity.ravel() for view in views]),
    )


def _depth_caption(view: ViewComparison) -> str:
    seen = view.depth_m[view.opacity >= 0.5]
    return f"median {np.median(seen):.1f} m" if seen.size else "nothing seen"


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

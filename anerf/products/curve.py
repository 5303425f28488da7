"""The curve of an adaptation: how good views are after how many seconds, as a table and a plot."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from anerf.learn.evaluate import SCORES

CSV, SVG = "curve.csv", "curve.svg"
_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 96, 40, 52
_COLORS = {"new": "#b5367a", "old": "#26828e"}  # as magma and viridis have them
_LABEL_PX = 16  # from one label to the next


@dataclass(frozen=True)
class CurvePoint:
    """Mean scores (names of `SCORES`) of the views of one role after `tto` steps and `adapt_s` seconds."""

    tto: int
    adapt_s: float
    role: str
    scores: Mapping[str, float]


def save_curve(folder: Path, points: Sequence[CurvePoint]) -> None:
    """Write `curve.csv`, one row a point, and `curve.svg`, PSNR over seconds; each is replaced atomically."""
    rows = [
        {"tto": p.tto, "adapt_s": p.adapt_s, "role": p.role, **{name: p.scores.get(name) for name in SCORES}}
        for p in points
    ]
    columns = [("tto", pa.int64()), ("adapt_s", pa.float64()), ("role", pa.string())]
    schema = pa.schema([*columns, *((name, pa.float64()) for name in SCORES)])
    partial = folder / f".{CSV}.{os.getpid()}.part"
    pacsv.write_csv(pa.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(folder / CSV)
    partial = folder / f".{SVG}.{os.getpid()}.part"
    partial.write_text(curve_svg(points), encoding="utf-8")
    partial.replace(folder / SVG)


def curve_svg(points: Sequence[CurvePoint]) -> str:
    """A plot of PSNR over seconds of adapting: a line a role, a dot a measurement.

    Raises:
        ValueError: there is nothing to plot.
    """
    if not points:
        raise ValueError("a curve needs at least one point")
    psnr_db = [p.scores["psnr_db"] for p in points]
    x_ticks, x_format = _ticks(0.0, max(p.adapt_s for p in points))
    y_ticks, y_format = _ticks(min(psnr_db), max(psnr_db))

    def x(seconds: float) -> float:
        return _LEFT + (seconds - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - _RIGHT)

    def y(db: float) -> float:
        return _HEIGHT - _BOTTOM - (db - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
        f' height="{_HEIGHT}" font-family="sans-serif" font-size="13" fill="#18181c">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, _TOP - 18, "mean PSNR in dB", "start"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "seconds of adapting", "middle"),
    ]
    for tick in y_ticks:
        drawn.append(_line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick)))
        drawn.append(_text(_LEFT - 8, y(tick) + 4, format(tick, y_format), "end"))
    for tick in x_ticks:
        drawn.append(_line(x(tick), _HEIGHT - _BOTTOM, x(tick), _HEIGHT - _BOTTOM + 5))
        drawn.append(_text(x(tick), _HEIGHT - _BOTTOM + 20, format(tick, x_format), "middle"))
    curves = {
        role: [(x(p.adapt_s), y(p.scores["psnr_db"])) for p in points if p.role == role] for role in _COLORS
    }
    label_y = -math.inf
    for role, places in sorted(curves.items(), key=lambda curve: curve[1][-1][1] if curve[1] else 0):
        if places:
            label_y = max(places[-1][1] + 4, label_y + _LABEL_PX)
            drawn.append(_curve(places, _COLORS[role]))
            drawn.append(_text(places[-1][0] + 10, label_y, f"{role} views", "start", _COLORS[role]))
    return "\n".join([*drawn, "</svg>", ""])


def _ticks(low: float, high: float) -> tuple[list[float], str]:
    """Round numbers, at most seven and at least two, that hold low and high, and how to write them."""
    span = max(high - low, 1.0)
    exponent = math.floor(math.log10(span / 5))
    step = next(m * 10.0**exponent for m in (1, 2, 5, 10) if span <= 5 * m * 10.0**exponent)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [k * step for k in range(first, max(last, first + 1) + 1)], f".{max(0, -exponent)}f"


def _curve(places: Sequence[tuple[float, float]], color: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>{dots}'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d0d4"/>'


def _text(x: float, y: float, text: str, anchor: str, color: str = "#606068") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{text}</text>'

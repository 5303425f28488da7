"""Small charts of an inspection: heights of the ground, heights along a flight, distances from GPS; SVG."""

import html
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

WIDTH_PX, HEIGHT_PX = 560, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 70, 14, 14, 46


def ticks(low: float, high: float, most: int = 6) -> tuple[list[float], str]:
    """Round numbers around low and high, at least two, and how to write them."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(m * power for m in (1, 2, 5, 10, 20) if span <= most * m * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [k * step for k in range(first, max(last, first + 1) + 1)], f".{decimals}f"


class _Plot:
    """Axes and what is drawn on them."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_name: str, y_name: str) -> None:
        (self._x_ticks, x_format), (self._y_ticks, y_format) = ticks(*x), ticks(*y, most=5)
        bottom = HEIGHT_PX - BOTTOM_PX
        self._drawn = []
        for tick in self._y_ticks:
            self._drawn.append(
                f'<line class="grid" x1="{LEFT_PX}" y1="{self.y(tick):.1f}" x2="{WIDTH_PX - RIGHT_PX}" '
                f'y2="{self.y(tick):.1f}"/>'
            )
            self.text(LEFT_PX - 8, self.y(tick) + 4, format(tick, y_format), "end")
        for tick in self._x_ticks:
            self._drawn.append(
                f'<line class="axis" x1="{self.x(tick):.1f}" y1="{bottom}" x2="{self.x(tick):.1f}" '
                f'y2="{bottom + 5}"/>'
            )
            self.text(self.x(tick), bottom + 19, format(tick, x_format), "middle")
        self.text((LEFT_PX + WIDTH_PX - RIGHT_PX) / 2, HEIGHT_PX - 8, x_name, "middle")
        middle = (TOP_PX + bottom) / 2
        self._drawn.append(
            f'<text x="14" y="{middle:.1f}" text-anchor="middle" '
            f'transform="rotate(-90 14 {middle:.1f})">{html.escape(y_name)}</text>'
        )

    def x(self, value: float) -> float:
        first, last = self._x_ticks[0], self._x_ticks[-1]
        return LEFT_PX + (value - first) / (last - first) * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    def y(self, value: float) -> float:
        first, last = self._y_ticks[0], self._y_ticks[-1]
        return HEIGHT_PX - BOTTOM_PX - (value - first) / (last - first) * (HEIGHT_PX - TOP_PX - BOTTOM_PX)

    def text(self, x: float, y: float, words: str, anchor: str) -> None:
        self._drawn.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
        )

    def add(self, drawn: str) -> None:
        self._drawn.append(drawn)

    def bars(self, counts: Int[np.ndarray, " b"], edges: Float[np.ndarray, " c"]) -> None:
        base = self.y(0)
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
            if count:
                left, width, top = self.x(low), self.x(high) - self.x(low), self.y(float(count))
                self._drawn.append(
                    f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{max(width - 1, 0.5):.1f}" '
                    f'height="{base - top:.1f}"/>'
                )

    def svg(self, label: str) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" width="{WIDTH_PX}" role="img" '
            f'aria-label="{html.escape(label)}">{"".join(self._drawn)}</svg>'
        )


def height_chart(
    counts: Int[np.ndarray, " b"], edges_m: Float[np.ndarray, " c"], marks: Sequence[tuple[float, str]]
) -> str:
    """A histogram of points by height (ENU metres); each mark is a height and what lies there."""
    every = [*edges_m.tolist(), *(height for height, _ in marks)]
    plot = _Plot((min(every), max(every)), (0, max(counts.max(), 1)), "metres above the reference", "points")
    plot.bars(counts, edges_m)
    for i, (height_m, words) in enumerate(marks):
        x, end = plot.x(height_m), plot.x(height_m) > WIDTH_PX * 0.7
        plot.add(
            f'<line class="mark" x1="{x:.1f}" y1="{TOP_PX}" x2="{x:.1f}" y2="{HEIGHT_PX - BOTTOM_PX}"/>'
            f'<text class="halo" x="{x + (-6 if end else 6):.1f}" y="{TOP_PX + 12 + 17 * i}" '
            f'text-anchor="{"end" if end else "start"}">{html.escape(words)}</text>'
        )
    return plot.svg("How many sparse points lie at which height")


def course_chart(camera_m: Sequence[float], gps_m: Sequence[float | None]) -> str:
    """Heights above the ellipsoid photograph by photograph: where the cameras stand and what GPS recorded."""
    known = [*camera_m, *(height for height in gps_m if height is not None)]
    last = max(len(camera_m), 2)
    plot = _Plot((1, last), (min(known), max(known)), "photograph, by name", "WGS 84 height, m")
    points = " ".join(f"{plot.x(i):.1f},{plot.y(height):.1f}" for i, height in enumerate(camera_m, start=1))
    plot.add(f'<polyline class="course" points="{points}"/>')
    for i, height in enumerate(gps_m, start=1):
        if height is not None:
            plot.add(f'<circle class="gpsend" cx="{plot.x(i):.1f}" cy="{plot.y(height):.1f}" r="2.5"/>')
    return plot.svg("Heights of cameras and GPS along the flight")


def distance_chart(distances_m: Float[np.ndarray, " n"]) -> str:
    """A histogram of horizontal distances between cameras and GPS."""
    highest = max(float(distances_m.max()), 0.1)
    x_ticks, _ = ticks(0, highest)
    counts, edges_m = np.histogram(distances_m, bins=20, range=(0, x_ticks[-1]))
    plot = _Plot((0, highest), (0, max(counts.max(), 1)), "GPS to camera on the map, m", "photographs")
    plot.bars(counts, edges_m)
    return plot.svg("How many photographs are how far from their GPS")

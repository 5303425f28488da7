"""The sheet that a scene's maps share: north up, one scale, corners on Earth, a scale bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic

LONGEST_PX = 860
LEFT_PX, TOP_PX, BELOW_PX = 12, 30, 62
_ROOM = 0.04
# Cameras and fixes beyond this many of the box's longest sides are left off, or they would shrink the rest.
_NEAR_SIDES = 0.75
_SLIMMEST = 0.5


@dataclass(frozen=True)
class MapFrame:
    """A rectangle of ENU metres drawn at `px_per_m`, its north-west corner at (LEFT_PX, TOP_PX)."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float
    px_per_m: float

    @classmethod
    def around(cls, box: Aabb, places_xy: Float[np.ndarray, "n 2"]) -> "MapFrame":
        """The frame that holds the box and all places not too far from it, no slimmer than 1 to 2."""
        lo, hi = np.array(box.lo[:2]), np.array(box.hi[:2])
        reach_m = _NEAR_SIDES * float((hi - lo).max())
        near = places_xy[((places_xy >= lo - reach_m) & (places_xy <= hi + reach_m)).all(axis=1)]
        lo, hi = np.min([lo, *near], axis=0), np.max([hi, *near], axis=0)
        middle, half = (lo + hi) / 2, (hi - lo) / 2
        half = np.maximum(half, _SLIMMEST * half.max()) + _ROOM * half.max()
        west, south = (float(value) for value in middle - half)
        east, north = (float(value) for value in middle + half)
        return cls(west, south, east, north, LONGEST_PX / max(east - west, north - south, 1e-6))

    @property
    def size_px(self) -> tuple[float, float]:
        """Width and height of the framed part."""
        return (self.east_m - self.west_m) * self.px_per_m, (self.north_m - self.south_m) * self.px_per_m

    def at(self, xy: Sequence[float] | np.ndarray) -> tuple[float, float]:
        """Where a place (ENU metres) is drawn."""
        return (
            LEFT_PX + (float(xy[0]) - self.west_m) * self.px_per_m,
            TOP_PX + (self.north_m - float(xy[1])) * self.px_per_m,
        )

    def holds(self, xy: Sequence[float] | np.ndarray) -> bool:
        """Whether a place is on the map."""
        return self.west_m <= xy[0] <= self.east_m and self.south_m <= xy[1] <= self.north_m

    def path(self, corners: Float[np.ndarray, "k 2"]) -> str:
        """A closed path through corners in ENU metres."""
        return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, corners)) + "Z"


def map_svg(frame: MapFrame, reference: GeodeticReference, up_m: float, label: str, drawn: str) -> str:
    """An SVG element of `drawn` with frame, corners, north arrow and scale bar.

    Corners are told at the height `up_m` (ENU). `label` is for those who cannot see the map; escaped already.
    """
    width, height = frame.size_px
    full_width, full_height = width + 2 * LEFT_PX, height + TOP_PX + BELOW_PX
    right, bottom = LEFT_PX + width, TOP_PX + height
    corners = [
        (LEFT_PX, TOP_PX - 10, "start", (frame.west_m, frame.north_m)),
        (right, TOP_PX - 10, "end", (frame.east_m, frame.north_m)),
        (LEFT_PX, bottom + 19, "start", (frame.west_m, frame.south_m)),
        (right, bottom + 19, "end", (frame.east_m, frame.south_m)),
    ]
    places = enu_to_geodetic(np.array([(*xy, up_m) for *_, xy in corners]), reference)
    texts = "".join(
        f'<text class="corner" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_place(place)}</text>'
        for (x, y, anchor, _), place in zip(corners, places, strict=True)
    )
    plot = f'x="{LEFT_PX}" y="{TOP_PX}" width="{width:.1f}" height="{height:.1f}"'
    return (
        f'<svg class="map" viewBox="0 0 {full_width:.1f} {full_height:.1f}" width="{full_width:.0f}" '
        f'role="img" aria-label="{label}">'
        f'<rect class="ground" {plot}/>'
        f'<svg {plot} viewBox="{LEFT_PX} {TOP_PX} {width:.1f} {height:.1f}">{drawn}</svg>'
        f'<rect class="frame" {plot}/>{texts}{_scale_bar(frame, bottom)}{_north(right, bottom)}</svg>'
    )


def round_length_m(longest_m: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no longer."""
    power = 10.0 ** math.floor(math.log10(longest_m))
    return next(m * power for m in (5, 2, 1) if m * power <= longest_m * (1 + 1e-9))


def _scale_bar(frame: MapFrame, bottom: float) -> str:
    length_m = round_length_m((frame.east_m - frame.west_m) / 4)
    x, y, length = LEFT_PX, bottom + 44, length_m * frame.px_per_m
    return (
        f'<path class="scale" d="M{x},{y - 5:.1f}V{y + 5:.1f}M{x},{y:.1f}h{length:.1f}m0,-5v10"/>'
        f'<text x="{x + length + 8:.1f}" y="{y + 4:.1f}">{length_m:g} m</text>'
    )


def _north(right: float, bottom: float) -> str:
    x, y = right - 10, bottom + 34
    return (
        f'<path class="north" d="M{x:.1f},{y:.1f}l7,20l-7,-5l-7,5Z"/>'
        f'<text x="{x - 12:.1f}" y="{y + 15:.1f}" text-anchor="end">north</text>'
    )


def _place(place: Float[np.ndarray, "3"]) -> str:
    latitude, longitude = float(place[0]), float(place[1])
    return (
        f"{abs(latitude):.6f}\u00b0 {'N' if latitude >= 0 else 'S'}, "
        f"{abs(longitude):.6f}\u00b0 {'E' if longitude >= 0 else 'W'}"
    )

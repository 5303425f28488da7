"""Numbers to colours: depth and differences as pictures, with the range that their legend names."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16, UInt8

from anerf.products.page import N_EXPERT_COLORS, PALETTE

Range = tuple[float, float]
_NOTHING_RGB = (58, 58, 62)


@dataclass(frozen=True)
class Ramp:
    """Colours from low to high, evenly spaced in lightness, linear in between."""

    name: str
    stops: tuple[str, ...]

    def __call__(self, values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
        """Colours of `values`; 0 is the lowest colour, 1 the highest, what lies beyond is clipped."""
        colors = np.array([[int(stop[i : i + 2], 16) for i in (0, 2, 4)] for stop in self.stops], np.float32)
        at = np.clip(values, 0, 1) * (len(colors) - 1)
        low = np.clip(at.astype(np.intp), 0, len(colors) - 2)
        share = (at - low)[..., None]
        return np.rint(colors[low] * (1 - share) + colors[low + 1] * share).astype(np.uint8)


# Anchors of matplotlib's two default perceptual maps (CC0).
VIRIDIS = Ramp(
    "viridis",
    ("440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"),
)
MAGMA = Ramp(
    "magma",
    ("000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf"),
)
COLORED_OPACITY = 0.5
"""From which opacity on a depth has a colour."""


def depth_range_m(depth_m: Float[np.ndarray, "*shape"], opacity: Float[np.ndarray, "*shape"]) -> Range:
    """Between which depths in metres nearly all surfaces lie (2nd to 98th percentile), at least 1 m apart."""
    seen = depth_m[opacity >= COLORED_OPACITY]
    if seen.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(seen, (2, 98)))
    return low, max(high, low + 1)


def depth_picture(
    depth_m: Float[np.ndarray, "h w"], opacity: Float[np.ndarray, "h w"], range_m: Range
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth as colours, near dark and far bright; dark grey where the view is more than half transparent."""
    low, high = range_m
    picture = VIRIDIS((depth_m - low) / (high - low))
    picture[opacity < COLORED_OPACITY] = _NOTHING_RGB
    return picture


def opacity_picture(opacity: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Opacity as grey, black where the view goes through."""
    return np.repeat(to_uint8(opacity)[..., None], 3, axis=-1)


def to_uint8(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Values in [0, 1] as bytes, rounded."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def expert_picture(expert: Int16[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Experts in colours of the pages' palette, repeated after eight; dark grey where there is none."""
    colors = np.array([_bytes(PALETTE[f"e{i}"][1]) for i in range(N_EXPERT_COLORS)], np.uint8)
    picture = colors[expert % N_EXPERT_COLORS]
    picture[expert < 0] = _NOTHING_RGB
    return picture


def normal_picture(normals: Float[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Unit normals as colours: east, north and up from -1 to 1 give red, green, blue; dark grey for none."""
    picture = to_uint8(normals / 2 + 0.5)
    picture[~normals.any(axis=-1)] = _NOTHING_RGB
    return picture


def _bytes(color: str) -> list[int]:
    return [int(color.lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)]

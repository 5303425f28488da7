"""Where every parameter lies: tiny-cuda-nn's layout, so that checkpoints move between GPU and laptop.

Grid levels follow each other coarse to fine; a level is dense where its lattice fits the table and hashed
where it does not; sizes are rounded up to 8 entries. MLPs have no biases, widths are padded to 16, and
matrices lie row-major as [fan_out, fan_in]. Source: NVlabs/tiny-cuda-nn, `grid.h` and `fully_fused_mlp.cu`;
Müller et al., "Instant Neural Graphics Primitives", 2022.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anerf.errors import InputError

MAX_DENSE_RESOLUTION = 1625  # above it res^3 overflows uint32


@dataclass(frozen=True)
class GridLevel:
    """One level of the hash grid. `offset` and `entries` count entries of F features."""

    scale: float
    resolution: int
    entries: int
    offset: int
    hashed: bool


@dataclass(frozen=True)
class GridLayout:
    """A multiresolution hash grid: L levels of F features in a table of at most 2^T entries each."""

    levels: tuple[GridLevel, ...]
    n_features: int
    log2_hashmap_size: int

    @property
    def n_entries(self) -> int:
        """Entries of all levels together."""
        last = self.levels[-1]
        return last.offset + last.entries

    @property
    def n_params(self) -> int:
        """Floats in the table."""
        return self.n_entries * self.n_features

    @property
    def n_output(self) -> int:
        """Features per position, all levels together."""
        return len(self.levels) * self.n_features


def level_scale(level: int, base_resolution: int, per_level_scale: float) -> float:
    """Lattice cells across the unit cube minus one, rounded step by step as a float32 host does."""
    log2_growth = np.float32(math.log2(np.float32(per_level_scale)))
    growth = np.float32(math.exp2(np.float32(np.float32(level) * log2_growth)))
    return float(np.float32(growth * np.float32(base_resolution)) - np.float32(1.0))


def grid_layout(
    n_levels: int,
    n_features: int,
    log2_hashmap_size: int,
    base_resolution: int,
    per_level_scale: float,
) -> GridLayout:
    """Lay out a hash grid as tiny-cuda-nn does (`GridEncodingTemplated` constructor)."""
    scales = [level_scale(level, base_resolution, per_level_scale) for level in range(n_levels)]
    return grid_layout_from_scales(scales, n_features, log2_hashmap_size)


def grid_layout_from_scales(scales: Sequence[float], n_features: int, log2_hashmap_size: int) -> GridLayout:
    """Lay out a grid from stored scales: a checkpoint's own, never recomputed on another machine."""
    levels, offset = [], 0
    for scale in scales:
        resolution = math.ceil(scale) + 1
        lattice = resolution**3
        rounded = (lattice + 7) // 8 * 8
        entries = min(rounded, 1 << log2_hashmap_size)
        dense = resolution <= MAX_DENSE_RESOLUTION and lattice <= entries
        levels.append(GridLevel(scale, resolution, entries, offset, hashed=not dense))
        offset += entries
    return GridLayout(tuple(levels), n_features, log2_hashmap_size)


def growth_between(base_resolution: int, max_resolution: int, n_levels: int) -> float:
    """The per-level scale that leads from the coarsest to the finest resolution."""
    if n_levels < 2:
        return 1.0
    return math.exp2(math.log2(max_resolution / base_resolution) / (n_levels - 1))


@dataclass(frozen=True)
class MlpLayout:
    """A bias-free perceptron with ReLU between its layers."""

    n_in: int
    n_out: int
    n_hidden_layers: int
    width: int = 64

    @property
    def padded_in(self) -> int:
        """Input width rounded up to 16; the extra columns see ones."""
        return (self.n_in + 15) // 16 * 16

    @property
    def padded_out(self) -> int:
        """Output width rounded up to 16; the extra rows are never read."""
        return (self.n_out + 15) // 16 * 16

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Matrix shapes [fan_out, fan_in], first layer first."""
        hidden = [(self.width, self.width)] * (self.n_hidden_layers - 1)
        return ((self.width, self.padded_in), *hidden, (self.padded_out, self.width))

    @property
    def n_params(self) -> int:
        """Floats in all matrices."""
        return sum(rows * columns for rows, columns in self.shapes)


FLIGHT_CODE_DIM = 8
GEOMETRY_FEATURES = 15
SH_DEGREE = 3
BACKGROUND_SH_DEGREE = 4
N_FREQUENCIES = 2


@dataclass(frozen=True)
class FieldLayout:
    """Everything that decides the shape of one expert's parameters.

    `dir_encoding` is `spherical` (harmonics up to degree 3, 9 values) or `frequency` (sines and cosines).
    """

    grid: GridLayout
    sigma_mlp: MlpLayout
    color_mlp: MlpLayout
    dir_encoding: str

    @property
    def n_params(self) -> int:
        """Floats of one expert."""
        return self.grid.n_params + self.sigma_mlp.n_params + self.color_mlp.n_params


def direction_width(dir_encoding: str) -> int:
    """Values that the direction encoding gives to the colour network."""
    if dir_encoding == "spherical":
        return SH_DEGREE**2
    if dir_encoding == "frequency":
        return 3 * 2 * N_FREQUENCIES
    raise InputError(f"direction encoding {dir_encoding!r} is unknown: use 'spherical' or 'frequency'")


def field_layout(
    grid: GridLayout,
    *,
    sigma_depth: int,
    sigma_width: int,
    color_depth: int,
    color_width: int,
    dir_encoding: str,
) -> FieldLayout:
    """Networks around a grid: features -> log-density + 15 -> with direction and flight code -> rgb."""
    for name, width in (("dim_hidden", sigma_width), ("color_hidden", color_width)):
        if width % 16:
            raise InputError(f"{name} is {width}: hidden widths are multiples of 16, such as 64")
    color_in = GEOMETRY_FEATURES + direction_width(dir_encoding) + FLIGHT_CODE_DIM
    return FieldLayout(
        grid=grid,
        sigma_mlp=MlpLayout(grid.n_output, 1 + GEOMETRY_FEATURES, sigma_depth, sigma_width),
        color_mlp=MlpLayout(color_in, 3, color_depth, color_width),
        dir_encoding=dir_encoding,
    )

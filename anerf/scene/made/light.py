"""Sun with cast shadows, and sky light dimmed where things stand around."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.scene.made.shapes import SolidTable
from anerf.scene.made.terrain import Terrain
from anerf.scene.made.tracer import orthographic, solid_keys, trace_view

_REACH_M = 120.0  # solids farther out cast no shadow
_TOP_M = 28.0
_LOW_M = -4.0
_BIAS_M = 0.12
_CELL_M = 1.5
_AZIMUTHS = 10
_STEPS_M = (0.8, 1.8, 3.0, 4.5, 6.5, 9.0, 13.0, 19.0, 28.0)


@dataclass(frozen=True)
class Sun:
    """Where the sun stands (azimuth clockwise from north) and the light it and the sky give, linear RGB."""

    azimuth_deg: float = 152.0
    elevation_deg: float = 47.0
    rgb: tuple[float, float, float] = (2.45, 2.28, 2.02)
    sky_rgb: tuple[float, float, float] = (0.62, 0.74, 0.95)

    def towards(self) -> Float[Tensor, "3"]:
        """Unit vector to the sun, ENU, float64."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        flat = math.cos(elevation)
        return torch.tensor(
            [flat * math.sin(azimuth), flat * math.cos(azimuth), math.sin(elevation)], dtype=torch.float64
        )


@dataclass(frozen=True)
class Light:
    """What is needed to light any point: the sun's depth map, and a volume of sky visibility."""

    sun: Sun
    right: Float[Tensor, "3"]
    down: Float[Tensor, "3"]
    corner: Float[Tensor, "3"]
    texel_m: float
    depth_m: Float[Tensor, "rows columns"]
    sky: Float[Tensor, "1 1 z y x"]

    def sunlit(self, points: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Share of the sun that reaches each point, by four neighbouring rays of the depth map."""
        forward = -self.sun.towards().float()
        offset = points + 0.10 * normal - self.corner
        rows, columns = self.depth_m.shape
        x = (offset @ self.right / self.texel_m - 0.5).clamp(0.0, columns - 1.001)
        y = (offset @ self.down / self.texel_m - 0.5).clamp(0.0, rows - 1.001)
        depth = offset @ forward - _BIAS_M
        ix, iy = x.int(), y.int()
        fx, fy = x - ix, y - iy
        flat, at = self.depth_m.reshape(-1), iy * columns + ix
        a, b, c, d = (
            (flat.index_select(0, at + step) > depth).float() for step in (0, 1, columns, columns + 1)
        )
        return torch.lerp(torch.lerp(a, b, fx), torch.lerp(c, d, fx), fy)

    def sky_seen(self, points: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Share of the open sky over each point, looked up a little off the surface."""
        span = torch.tensor([_REACH_M, _REACH_M, (_TOP_M - _LOW_M) / 2])
        middle = torch.tensor([0.0, 0.0, (_TOP_M + _LOW_M) / 2])
        at = (points + 1.1 * normal - middle) / span
        grid = at[None, None, None, :, :]
        return torch.nn.functional.grid_sample(self.sky, grid, align_corners=False, padding_mode="border")[
            0, 0, 0, 0
        ]

    def irradiance(self, points: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Light falling on each point, linear RGB; albedo times this is what the camera sees."""
        facing = (normal @ self.sun.towards().float()).clamp_min(0.0)
        direct = (facing * self.sunlit(points, normal))[:, None] * torch.tensor(self.sun.rgb)
        open_sky = self.sky_seen(points, normal)
        up = 0.5 + 0.5 * normal[:, 2]
        ambient = (up * open_sky)[:, None] * torch.tensor(self.sun.sky_rgb)
        # Sunlit ground lights walls and undersides from below.
        bounce = ((1.0 - up) * (0.35 + 0.65 * open_sky))[:, None] * torch.tensor([0.42, 0.40, 0.33])
        return direct + ambient + bounce + 0.05


def make_light(table: SolidTable, terrain: Terrain, sun: Sun, texel_m: float) -> Light:
    """Traces the depth map from the sun and marches the sky visibility over a height map."""
    forward = -sun.towards()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    right = right / right.norm()
    down = torch.linalg.cross(forward, right)
    axes = torch.stack((right, down, forward), dim=-1)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    corners = signs * torch.tensor([_REACH_M, _REACH_M, (_TOP_M - _LOW_M) / 2])
    corners[:, 2] += (_TOP_M + _LOW_M) / 2
    seen = corners @ axes
    low, high = seen.amin(dim=0), seen.amax(dim=0)
    columns, rows = (int(extent / texel_m) for extent in (high - low)[:2].tolist())
    corner = axes @ low
    view = orthographic(columns, rows, texel_m, corner, axes)
    keys = solid_keys(view, table)
    depth = (keys >> 24).to(torch.int32).view(torch.float32).reshape(rows, columns)
    sky = _sky_volume(_height_map(table, terrain))
    return Light(sun, right.float(), down.float(), corner.float(), texel_m, depth, sky)


def _height_map(table: SolidTable, terrain: Terrain) -> Float[Tensor, "y x"]:
    """Heights of what is seen from straight above, on cells of half the volume's size; row 0 is the south."""
    step = _CELL_M / 2
    side = round(2 * _REACH_M / step)
    axes = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    view = orthographic(side, side, step, torch.tensor([-_REACH_M, -_REACH_M, 100.0]), axes)
    return (100.0 - trace_view(view, table, terrain).t).reshape(side, side)


def _sky_volume(heights: Float[Tensor, "y x"]) -> Float[Tensor, "1 1 z y x"]:
    """Mean over azimuths of 1 - sin(horizon angle) at the centres of a regular grid of cells."""
    side = round(2 * _REACH_M / _CELL_M)
    layers = round((_TOP_M - _LOW_M) / _CELL_M)
    middle = (torch.arange(side) + 0.5) * _CELL_M - _REACH_M
    level = (torch.arange(layers) + 0.5) * (_TOP_M - _LOW_M) / layers + _LOW_M
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    seen = torch.zeros(layers, side, side)
    for index in range(_AZIMUTHS):
        angle = 2 * math.pi * (index + 0.5) / _AZIMUTHS
        steepest = torch.zeros(layers, side, side)
        for reach_m in _STEPS_M:
            at = (
                torch.stack((x + reach_m * math.cos(angle), y + reach_m * math.sin(angle)), dim=-1) / _REACH_M
            )
            there = torch.nn.functional.grid_sample(
                heights[None, None], at[None], align_corners=False, padding_mode="border"
            )[0, 0]
            steepest = torch.maximum(steepest, (there[None] - level[:, None, None]) / reach_m)
        seen += 1.0 - steepest / torch.sqrt(1.0 + steepest**2)
    return (seen / _AZIMUTHS)[None, None]

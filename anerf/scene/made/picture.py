"""Photographs of a world: trace, colour, light, average the samples of each pixel, develop to sRGB."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.scene.made.materials import ruffled, solid_albedo
from anerf.scene.made.noise import fbm
from anerf.scene.made.shapes import contacts
from anerf.scene.made.tracer import Hits, perspective, trace_view
from anerf.scene.made.world import NEAR_CANVAS_M, World

_SATURATION = 0.75  # of a camera's plain rendering
_SKY = (0.62, 0.74, 0.92)
_WATER = (0.165, 0.130, 0.088)


@dataclass(frozen=True)
class Shot:
    """A photograph and the truth behind it: sRGB bytes, and metres along the ray of each pixel's centre."""

    rgb: np.ndarray
    depth_m: np.ndarray


def photograph(
    world: World, width: int, height: int, pinhole: tuple[float, float, float, float], c2w: np.ndarray
) -> Shot:
    """Takes the picture of a pinhole camera (fx, fy, cx, cy) at `c2w` (3, 4), OpenGL axes, ENU metres."""
    pose = torch.from_numpy(c2w)
    fx, fy, cx, cy = pinhole
    # Samples lie half a pixel apart, every second one at a pixel's centre: its depth is the truth, and a
    # 1-2-1 filter over it and its neighbours is the pixel's colour.
    samples = (2 * fx, 2 * fy, 2 * cx + 0.5, 2 * cy + 0.5)
    view = perspective(2 * width + 1, 2 * height + 1, samples, pose)
    rays_o, rays_d = view.rays()
    hits = trace_view(view, world.table, world.terrain)
    linear = _radiance(world, hits, rays_o, rays_d, 2.0 / samples[0]).reshape(view.height, view.width, 3)
    across = 0.25 * linear[:, :-2:2] + 0.5 * linear[:, 1::2] + 0.25 * linear[:, 2::2]
    mean = 0.25 * across[:-2:2] + 0.5 * across[1::2] + 0.25 * across[2::2]
    depth = (hits.t * rays_d.norm(dim=1)).reshape(view.height, view.width)[1::2, 1::2]
    return Shot(develop(mean), depth.contiguous().numpy())


def develop(linear: Float[Tensor, "h w 3"]) -> np.ndarray:
    """sRGB bytes of linear light, highlights rolled off gently."""
    x = (linear * 0.92).clamp_min(0.0)
    luma = x @ torch.tensor([0.2126, 0.7152, 0.0722])
    x = torch.lerp(luma[..., None].expand_as(x), x, _SATURATION)
    rolled = torch.where(x < 0.6, x, 0.6 + 0.4 * (1.0 - torch.exp(-(x - 0.6) / 0.4)))
    srgb = torch.where(
        rolled <= 0.0031308, rolled * 12.92, 1.055 * rolled.clamp_min(1e-6) ** (1 / 2.4) - 0.055
    )
    return (srgb * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8).numpy()


def _radiance(world: World, hits: Hits, rays_o: Tensor, rays_d: Tensor, pixel_angle: float) -> Tensor:
    """Linear colour of every sample, (n, 3); `pixel_angle` is the width of a pixel at distance 1."""
    out = torch.tensor(_SKY).expand(len(hits.t), 3).clone()
    # Patterns are faded against the width of a whole pixel, so that pictures from other places agree.
    widths = hits.t * pixel_angle
    on_solid = torch.nonzero(hits.solid >= 0)[:, 0]
    on_ground = torch.nonzero((hits.solid < 0) & torch.isfinite(hits.t))[:, 0]
    if len(on_solid):
        out[on_solid] = _solid_colour(world, hits, on_solid, rays_o, rays_d, widths)
    if len(on_ground):
        out[on_ground] = _ground_colour(world, hits, on_ground, rays_o, rays_d, widths)
    return out


def _solid_colour(
    world: World, hits: Hits, at: Tensor, rays_o: Tensor, rays_d: Tensor, widths: Tensor
) -> Tensor:
    rows, direction = hits.solid[at], rays_d[at]
    points = rays_o[at] + hits.t[at][:, None] * direction
    touch = contacts(world.table, rows, points)
    slant = (touch.normal * torch.nn.functional.normalize(direction, dim=1)).sum(dim=1).abs().clamp_min(0.3)
    albedo = solid_albedo(world.table, rows, touch, points, widths[at] / torch.sqrt(slant))
    return albedo * world.light.irradiance(points, ruffled(world.table, rows, touch.normal, points))


def _ground_colour(
    world: World, hits: Hits, at: Tensor, rays_o: Tensor, rays_d: Tensor, widths: Tensor
) -> Tensor:
    direction = rays_d[at]
    points = rays_o[at] + hits.t[at][:, None] * direction
    x, y, _ = points.unbind(-1)
    unit = torch.nn.functional.normalize(direction, dim=1)
    footprint = widths[at] / torch.sqrt((-unit[:, 2]).clamp_min(0.2)) / 2.0
    near = torch.maximum(x.abs(), y.abs()) < NEAR_CANVAS_M - 0.5
    albedo = torch.empty_like(points)
    for canvas, here in ((world.near_ground, near), (world.far_ground, ~near)):
        chosen = torch.nonzero(here)[:, 0]
        if len(chosen):
            albedo[chosen] = canvas.colour(x[chosen], y[chosen], footprint[chosen])
    _, slope_x, slope_y = world.terrain.height_and_slope(x, y)
    normal = torch.nn.functional.normalize(
        torch.stack((-slope_x, -slope_y, torch.ones_like(x)), dim=1), dim=1
    )
    wet = torch.nonzero(hits.wet[at])[:, 0]
    if len(wet):
        normal[wet] = torch.tensor([0.0, 0.0, 1.0])
        albedo[wet] = _water(world, points[wet], footprint[wet])
    return albedo * world.light.irradiance(points, normal)


def _water(world: World, points: Tensor, footprint: Tensor) -> Tensor:
    """Muddy water: silt in drifts, flotsam, and some of the ground where it is shallow."""
    x, y, z = points.unbind(-1)
    silt = fbm(x + 0.3 * y, 2.2 * y, (9.0, 3.5, 1.3, 0.6), footprint)
    base = torch.tensor(_WATER) * (1.0 + 0.14 * silt)[:, None]
    bed, _, _ = world.terrain.height_and_slope(x, y)
    shallow = torch.exp(-(z - bed).clamp_min(0.0) / 0.07)
    ground = world.near_ground.colour(x, y, footprint) * 0.55
    flotsam = (fbm(x + 40.0, y, (5.0, 1.1, 0.5), footprint) - 0.95).clamp(0.0, 0.5)
    return torch.lerp(base + 0.22 * flotsam[:, None], ground, 0.8 * shallow[:, None])

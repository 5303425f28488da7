"""Rays through a single expert: what training and adaptation differentiate."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.backend import DensityScale, FieldBackend
from anerf.field.layout import FieldLayout
from anerf.field.params import FieldParams
from anerf.geometry.boxes import Aabb, intersect_aabb
from anerf.render.compositing import Composite, composite
from anerf.render.density_grid import DensityGrid
from anerf.render.sampling import coarse_steps, draw_intervals, sampling_profile

N_COARSE = 64


@dataclass(frozen=True)
class ExpertModel:
    """One expert ready to be asked: its parameters, its box (learning frame) and its density grid."""

    params: FieldParams
    grid: DensityGrid
    box: Aabb

    def to(self, device: torch.device) -> "ExpertModel":
        """The same expert on another device."""
        return ExpertModel(self.params.to(device), self.grid.to(device), self.box)

    def unit_cube(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Positions relative to the box's low corner, its longest side being 1; clamped to the box's cube."""
        side = max(self.box.size)
        return ((x - x.new_tensor(self.box.lo)) / side).clamp(0, 1)


@dataclass(frozen=True)
class Sampling:
    """How rays are sampled: `n_samples` a ray, exploration share, bounds in learning units."""

    n_samples: int
    floor: float
    t_min: float = 0.0
    t_max: float = float("inf")
    n_coarse: int = N_COARSE


@dataclass(frozen=True)
class FieldSetting:
    """What every query of a scene's fields needs beside parameters."""

    backend: FieldBackend
    layout: FieldLayout
    scale: DensityScale


@dataclass(frozen=True)
class Samples:
    """Sample middles in the learning frame and the intervals that they stand for."""

    x: Float[Tensor, "r k 3"]
    t_starts: Float[Tensor, "r k"]
    t_ends: Float[Tensor, "r k"]


def ray_jitter(n_rays: int, n_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Random positions within steps for training (`generator`), or the regular middles for pictures."""
    if generator is None:
        return torch.full((n_rays,), 0.5), torch.full((n_rays, n_samples + 1), 0.5)
    return torch.rand(n_rays, generator=generator), torch.rand(n_rays, n_samples + 1, generator=generator)


def ray_bounds(
    rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"], box: Aabb, sampling: Sampling
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Where rays are inside the box and the job's bounds; a miss has `t_far == t_near`."""
    t_near, t_far = intersect_aabb(rays_o, rays_d, box)
    t_near = t_near.clamp(min=sampling.t_min)
    t_far = t_far.clamp(max=sampling.t_max)
    return t_near, torch.maximum(t_near, t_far)


def draw_samples(
    expert: ExpertModel,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling,
    generator: torch.Generator | None,
) -> Samples:
    """Importance samples of rays inside one expert's box, guided by its density grid."""
    t_near, t_far = ray_bounds(rays_o, rays_d, expert.box, sampling)
    jitter, border_jitter = (j.to(rays_o) for j in ray_jitter(len(rays_o), sampling.n_samples, generator))
    steps = coarse_steps(t_near, t_far, sampling.n_coarse, jitter)
    sigma, allowed = expert.grid.lookup(rays_o[:, None] + rays_d[:, None] * steps.t[..., None])
    profile = sampling_profile(sigma, allowed & (steps.step > 0)[:, None], steps.step, sampling.floor)
    t_starts, t_ends, _ = draw_intervals(profile, steps, sampling.n_samples, border_jitter)
    middle = (t_starts + t_ends) / 2
    return Samples(rays_o[:, None] + rays_d[:, None] * middle[..., None], t_starts, t_ends)


def render_samples(
    expert: ExpertModel,
    setting: FieldSetting,
    samples: Samples,
    rays_d: Float[Tensor, "r 3"],
    code: Float[Tensor, "r c"],
    background: Float[Tensor, "r 3"],
) -> tuple[Composite, Float[Tensor, "r k"]]:
    """Evaluate and composite; also gives the samples' densities, for the density grid."""
    r, k = samples.t_starts.shape
    x = expert.unit_cube(samples.x.reshape(-1, 3))
    dirs = rays_d[:, None].expand(r, k, 3).reshape(-1, 3)
    codes = code[:, None].expand(r, k, code.shape[1]).reshape(r * k, -1)
    rgb, sigma = setting.backend.query(x, dirs, codes, expert.params, setting.layout, setting.scale)
    sigma = sigma.view(r, k)
    return composite(rgb.view(r, k, 3), sigma, samples.t_starts, samples.t_ends, background), sigma

"""Rays through a single expert: what training and adaptation differentiate."""

from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.backend import DensityScale, FieldBackend
from anerf.field.layout import FieldLayout
from anerf.field.params import FieldParams
from anerf.geometry.boxes import Aabb
from anerf.render import cpu_blending, cpu_rays, torch_blending, torch_rays
from anerf.render.compositing import Composite
from anerf.render.density_grid import DensityGrid
from anerf.render.guide import Guide
from anerf.render.samples import March, Samples, Sampling


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
class FieldSetting:
    """What every query of a scene's fields needs beside parameters."""

    backend: FieldBackend
    layout: FieldLayout
    scale: DensityScale

    @property
    def on_kernels(self) -> bool:
        """Whether our own CPU kernels do the work, which give first derivatives only."""
        return self.backend.name == "cpu"

    @property
    def rays(self) -> ModuleType:
        """What happens along rays: the module `cpu_rays` or its twin `torch_rays`."""
        return cpu_rays if self.on_kernels else torch_rays

    @property
    def blending(self) -> ModuleType:
        """How experts share samples: the module `cpu_blending` or its twin `torch_blending`."""
        return cpu_blending if self.on_kernels else torch_blending


def ray_jitter(n_rays: int, n_samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Random positions within steps for training (`generator`), or the regular middles for pictures."""
    if generator is None:
        return torch.full((n_rays,), 0.5), torch.full((n_rays, n_samples + 1), 0.5)
    return torch.rand(n_rays, generator=generator), torch.rand(n_rays, n_samples + 1, generator=generator)


def march_jitter(n_rays: int, march: March, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """How early steps begin and which are explored: random for training (`generator`), regular without."""
    if generator is None:
        return torch.zeros(n_rays), torch.zeros(n_rays, dtype=torch.int32)
    every = max(march.explore_every, 1)
    first = torch.randint(every, (n_rays,), generator=generator, dtype=torch.int32)
    return torch.rand(n_rays, generator=generator), first


def draw_samples(
    guide: Guide,
    setting: FieldSetting,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling | March,
    generator: torch.Generator | None,
) -> Samples:
    """Samples of rays where the guide says: at random within steps for training, with a `generator`."""
    if isinstance(sampling, March):
        shift, first = (j.to(rays_o.device) for j in march_jitter(len(rays_o), sampling, generator))
        return setting.rays.march_samples(guide, rays_o, rays_d, sampling, shift, first)
    jitter, border_jitter = (j.to(rays_o) for j in ray_jitter(len(rays_o), sampling.n_samples, generator))
    return setting.rays.importance_samples(guide, rays_o, rays_d, sampling, jitter, border_jitter)


def render_samples(
    expert: ExpertModel,
    setting: FieldSetting,
    samples: Samples,
    rays_d: Float[Tensor, "r 3"],
    code: Float[Tensor, "r c"],
    background: Float[Tensor, "r 3"],
) -> tuple[Composite, Float[Tensor, " n"]]:
    """Evaluate and composite; also gives the samples' densities, for the density grid."""
    features = setting.backend.ray_features(rays_d, code, setting.layout)
    x = expert.unit_cube(samples.x)
    rgb, sigma = setting.backend.query(
        x, features, samples.ray_index, expert.params, setting.layout, setting.scale
    )
    return setting.rays.composite(rgb, sigma, samples, background), sigma

"""All experts of a checkpoint as one scene: rays are routed to experts and blended before compositing."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.errors import InputError
from anerf.field.params import flight_code
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference
from anerf.partition.routing import routing_weights
from anerf.render.background import background_color
from anerf.render.compositing import Composite, composite
from anerf.render.expert import ExpertModel, FieldSetting, Sampling, ray_bounds
from anerf.render.sampling import coarse_steps, draw_intervals, sampling_profile

MIN_WEIGHT = 1e-3  # of an expert in a blend; less is not worth a query


@dataclass(frozen=True)
class SceneModel:
    """A checkpoint in memory. Positions: `origin`, `aabb` and `partition_centroids` in ENU metres; experts'
    boxes in the learning frame `(enu - origin) / scale`.
    """

    scene_name: str
    reference: GeodeticReference
    crs: str
    origin: tuple[float, float, float]
    scale: float
    aabb: Aabb
    flights: tuple[str, ...]
    experts: tuple[str, ...]
    partition_centroids: Float[np.ndarray, "e 3"]
    dims: int
    margin: float
    spec: FieldSpec
    setting: FieldSetting
    models: tuple[ExpertModel, ...]
    background: Float[Tensor, " p"] | None

    @property
    def centroids(self) -> Float[Tensor, "e 3"]:
        """Centroids in the learning frame."""
        return torch.from_numpy((self.partition_centroids - np.array(self.origin)) / self.scale).float()

    @property
    def aabb_learning(self) -> Aabb:
        """The scene box in the learning frame."""
        lo, hi = ((np.array(c) - np.array(self.origin)) / self.scale for c in (self.aabb.lo, self.aabb.hi))
        return Aabb((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))

    def code_of(self, flight: str | None) -> Float[Tensor, " c"]:
        """The flight code of `flight`; the first flight where None.

        Raises:
            InputError: if the scene does not know the flight.
        """
        if flight is None:
            return flight_code(0)
        if flight not in self.flights:
            raise InputError(
                f"flight {flight!r} is unknown to this checkpoint: it knows {', '.join(self.flights)}"
            )
        return flight_code(self.flights.index(flight))


def scene_density(
    scene: SceneModel, x: Float[Tensor, "r c 3"], owner: Int[Tensor, "r c"], only_expert: int | None
) -> tuple[Tensor, Tensor]:
    """Coarse density and whether anything may be there, from the density grid of each position's owner."""
    sigma = torch.zeros(x.shape[:-1], device=x.device)
    allowed = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
    for i, expert in enumerate(scene.models):
        if only_expert is not None and i != only_expert:
            continue
        mine = owner == i
        if mine.any():
            sigma[mine], allowed[mine] = expert.grid.lookup(x[mine])
    return sigma, allowed


@dataclass(frozen=True)
class BlendedRays:
    """Composite of a batch of rays and, for each, the expert that gave it most (-1: none)."""

    composite: Composite
    expert: Int[Tensor, " r"]


def render_scene_rays(
    scene: SceneModel,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    code: Float[Tensor, " c"],
    sampling: Sampling,
    only_expert: int | None = None,
) -> BlendedRays:
    """Render rays (learning frame) through all experts.

    Each position's density is the routing-weighted mean of its experts' densities, its colour their
    density-weighted mean; compositing happens once per ray. With `only_expert`, space outside that
    expert's region is empty.
    """
    centroids = scene.centroids.to(rays_o)
    t_near, t_far = ray_bounds(rays_o, rays_d, scene.aabb_learning, sampling)
    middle = torch.full_like(t_near, 0.5)
    steps = coarse_steps(t_near, t_far, sampling.n_coarse, middle)
    coarse_x = rays_o[:, None] + rays_d[:, None] * steps.t[..., None]
    owner = (
        routing_weights(coarse_x.view(-1, 3), centroids, 1.0, scene.dims).argmax(1).view(coarse_x.shape[:-1])
    )
    sigma, allowed = scene_density(scene, coarse_x, owner, only_expert)
    profile = sampling_profile(sigma, allowed & (steps.step > 0)[:, None], steps.step, sampling.floor)
    t_starts, t_ends, _ = draw_intervals(
        profile, steps, sampling.n_samples, middle[:, None].expand(-1, sampling.n_samples + 1)
    )

    r, k = t_starts.shape
    x = (rays_o[:, None] + rays_d[:, None] * ((t_starts + t_ends) / 2)[..., None]).reshape(-1, 3)
    weight = routing_weights(x, centroids, scene.margin, scene.dims)
    weight = weight.masked_fill((t_ends <= t_starts).reshape(-1, 1), 0.0)
    dirs = rays_d[:, None].expand(r, k, 3).reshape(-1, 3)
    blended_sigma = torch.zeros(r * k, device=x.device)
    blended_rgb = torch.zeros(r * k, 3, device=x.device)
    for i, expert in enumerate(scene.models):
        mine = (weight[:, i] > MIN_WEIGHT).nonzero()[:, 0]
        if len(mine) == 0 or only_expert not in (None, i):
            continue
        codes = code.to(x).expand(len(mine), -1)
        rgb, expert_sigma = scene.setting.backend.query(
            expert.unit_cube(x[mine]),
            dirs[mine],
            codes,
            expert.params,
            scene.setting.layout,
            scene.setting.scale,
        )
        expert_sigma = expert_sigma * weight[mine, i]
        blended_sigma[mine] += expert_sigma
        blended_rgb[mine] += rgb * expert_sigma[:, None]
    blended_rgb /= blended_sigma.clamp(min=1e-10)[:, None]
    behind = background_color(scene.spec, scene.background, rays_d)
    seen = composite(blended_rgb.view(r, k, 3), blended_sigma.view(r, k), t_starts, t_ends, behind)
    share = (seen.weights.reshape(-1, 1) * weight).view(r, k, -1).sum(1)
    giver = torch.where(seen.opacity > 0.5, share.argmax(1), torch.full_like(share.argmax(1), -1))
    return BlendedRays(seen, giver)

"""All experts of a checkpoint as one scene: rays are routed to experts and blended before compositing."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.errors import InputError
from anerf.field.params import flight_code
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference
from anerf.render.background import background_color
from anerf.render.compositing import Composite, median_depth
from anerf.render.expert import ExpertModel, FieldSetting, draw_samples
from anerf.render.exposure import Exposures
from anerf.render.guide import Guide
from anerf.render.router import Answered, Router
from anerf.render.samples import March, Sampling


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
    exposures: Exposures | None = None
    """Of the photographs that it was learned from, by their ids, where they were learned."""

    @property
    def centroids(self) -> Float[Tensor, "e 3"]:
        """Centroids in the learning frame."""
        return torch.from_numpy((self.partition_centroids - np.array(self.origin)) / self.scale).float()

    @property
    def aabb_learning(self) -> Aabb:
        """The scene box in the learning frame."""
        lo, hi = ((np.array(c) - np.array(self.origin)) / self.scale for c in (self.aabb.lo, self.aabb.hi))
        return Aabb((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))

    def sampling(self, n_samples: int) -> Sampling | March:
        """How pictures sample rays: `n_samples` each by importance, or at most so many in a march."""
        if self.spec.sampler == "march":
            return March.of_picture(n_samples, self.spec.march_step_m, self.scale)
        return Sampling.of_picture(n_samples, self.spec.sample_floor)

    def sampled(self, sampler: str | None, march_step_m: float | None) -> "SceneModel":
        """The same scene with another sampler for its pictures; what is None stays as it was learned with."""
        return replace(self, spec=self.spec.sampled(sampler, march_step_m))

    def guide(self, only_expert: int | None = None) -> Guide:
        """Where samples are worth taking; with `only_expert`, in that expert's region only."""
        grids = tuple(expert.grid for expert in self.models)
        centroids = self.centroids.to(grids[0].values)
        return Guide(self.aabb_learning, grids, centroids, self.dims, only_expert)

    def router(self, only_expert: int | None = None) -> Router:
        """Who answers for a position."""
        device = self.models[0].params.grid.device
        cubes = [[*expert.box.lo, max(expert.box.size)] for expert in self.models]
        return Router(
            self.centroids.to(device), torch.tensor(cubes, device=device), self.dims, self.margin, only_expert
        )

    @property
    def expert_ids(self) -> tuple[int, ...]:
        """Numbers of the experts that are here, in the partition that they belong to."""
        return tuple(int(name) for name in self.experts)

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

    def look_of(self, flight: str | None) -> Float[Tensor, "4 3"] | None:
        """The exposure that the photographs of a known flight have in common, where it has one."""
        if self.exposures is None or flight not in self.flights:
            return None
        return self.exposures.look(self.flights.index(flight))


@dataclass(frozen=True)
class BlendedRays:
    """Composite of a batch of rays and, for each, the expert that gave it most (-1: none)."""

    composite: Composite
    expert: Int[Tensor, " r"]
    surface_t: Float[Tensor, " r"]
    """Where each ray meets a surface (`median_depth`)."""


def render_scene_rays(
    scene: SceneModel,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    code: Float[Tensor, " c"],
    sampling: Sampling | March,
    only_expert: int | None = None,
    t_max: Float[Tensor, " r"] | None = None,
) -> BlendedRays:
    """Render rays (learning frame) through all experts.

    Each position's density is the routing-weighted mean of its experts' densities, its colour their
    density-weighted mean; compositing happens once per ray. With `only_expert`, space outside that
    expert's region is empty. What lies beyond a ray's own `t_max` is not seen.
    """
    setting = scene.setting
    samples = draw_samples(scene.guide(only_expert), setting, rays_o, rays_d, sampling, None)
    samples = samples if t_max is None else samples.cut(rays_o, rays_d, t_max)
    codes = code.to(rays_d).expand(len(rays_d), -1)
    features = setting.backend.ray_features(rays_d, codes, setting.layout)
    answered = []
    for answer in setting.blending.route(scene.router(only_expert), samples):
        params = scene.models[answer.expert].params
        rgb, sigma = setting.backend.query(
            answer.x, features, answer.ray_index, params, setting.layout, setting.scale
        )
        answered.append(Answered(answer, rgb, sigma))
    rgb, sigma = setting.blending.blend(len(samples.x), answered)
    behind = background_color(setting.backend, scene.spec, scene.background, rays_d)
    seen = setting.rays.composite(rgb, sigma, samples, behind)
    given = setting.blending.givers(len(rays_o), len(scene.models), answered, seen.weights)
    giver = given.argmax(1)
    giver = torch.where(seen.opacity > 0.5, giver, torch.full_like(giver, -1))
    return BlendedRays(seen, giver, median_depth(seen.weights, samples, seen.opacity))

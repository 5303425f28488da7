"""Refining the poses of a scene's photographs against all its experts together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anerf.geometry.cameras import pixel_directions
from anerf.learn.poses import PoseCorrection, PosePrior, PoseSteps, Sighting, refined_pose
from anerf.learn.rays import flight_of, step_generator
from anerf.render.color import from_srgb
from anerf.render.compositing import Composite
from anerf.render.scene_model import SceneModel, render_scene_rays
from anerf.scene.pixels import PixelStore
from anerf.scene.scene import Scene

RAYS_AT_ONCE = 8192
SOLID = 0.5  # opacity below which a ray shows what lies beyond the scene


@dataclass(frozen=True)
class PoseRequest:
    """What is known of given poses, and how photographs are looked at: random rays each, samples a ray."""

    prior: PosePrior
    samples: int
    seed: int
    n_rays: int = 1024


@torch.no_grad()
def refined_view(
    model: SceneModel, scene: Scene, pixels: PixelStore, index: int, request: PoseRequest
) -> PoseCorrection:
    """The correction of frame `index` (into `scene.frames`) that fits its photograph to the model's pictures.

    The model shows the frame's own flight where it knows it, else its first. Rays count where no mask
    excludes them and the model has a surface.
    """
    frame = scene.frames[index]
    flight = flight_of(frame.split)
    view = _View(model, flight if flight in model.flights else None, request.samples)
    sighting = _sighting(pixels, index, request, frame.id, model.spec.color_space)
    c2w = torch.from_numpy(frame.c2w)
    rays_d = sighting.directions @ c2w[:, :3].T
    distances_m, solid = view.distances_m(c2w[:, 3].expand_as(rays_d), rays_d)
    typical_m = float(distances_m[solid].median()) if solid.any() else 1.0
    return refined_pose(
        view.rgb,
        frame.c2w,
        replace(sighting, weight=sighting.weight * solid),
        request.prior,
        PoseSteps.of(pixels.camera(index), typical_m),
    )


def moved_scene(scene: Scene, corrections: Mapping[str, PoseCorrection]) -> Scene:
    """The scene, in memory only, with the frames of these files at their refined poses."""
    frames = (
        replace(frame, c2w=corrections[frame.file].applied(frame.c2w)) if frame.file in corrections else frame
        for frame in scene.frames
    )
    return replace(scene, frames=tuple(frames))


def _sighting(
    pixels: PixelStore, index: int, request: PoseRequest, photograph: int, color_space: str
) -> Sighting:
    """Random pixels of a photograph, the same for the same seed and photograph (id)."""
    generator = step_generator(request.seed, photograph, 0, "pose")
    width, height = pixels.size(index)
    x, y = (torch.randint(side, (request.n_rays,), generator=generator) for side in (width, height))
    at = (np.full(request.n_rays, index), x.numpy(), y.numpy())
    rgb = from_srgb(torch.from_numpy(pixels.gather(*at)).float() / 255, color_space)
    weight = torch.from_numpy(pixels.gather_mask(*at)).float()
    directions = pixel_directions(pixels.camera(index), torch.stack((x, y), dim=1).double() + 0.5)
    return Sighting(directions, rgb, weight)


class _View:
    """What the model shows on one flight to rays in ENU metres (float64); answers are on the CPU."""

    def __init__(self, model: SceneModel, flight: str | None, samples: int) -> None:
        self._model = model
        self._code = model.code_of(flight)
        self._sampling = model.sampling(samples)
        self._origin = torch.tensor(model.origin, dtype=torch.float64)

    def rgb(self, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """Colours, in the field's colour space."""
        return torch.cat([seen.rgb.cpu() for seen in self._composites(rays_o, rays_d)])

    def distances_m(
        self, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"]
    ) -> tuple[Float[Tensor, " r"], Bool[Tensor, " r"]]:
        """How far away surfaces are, and which rays meet one."""
        seen = list(self._composites(rays_o, rays_d))
        opacity, depth = (torch.cat([getattr(s, name).cpu() for s in seen]) for name in ("opacity", "depth"))
        return depth * self._model.scale, opacity > SOLID

    def _composites(self, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"]) -> Iterator[Composite]:
        device = self._model.models[0].params.grid.device
        origins = (rays_o - self._origin) / self._model.scale  # float32 only after the origin is gone
        for some in zip(origins.split(RAYS_AT_ONCE), rays_d.split(RAYS_AT_ONCE), strict=True):
            o, d = (rays.float().to(device) for rays in some)
            yield render_scene_rays(self._model, o, d, self._code, self._sampling).composite

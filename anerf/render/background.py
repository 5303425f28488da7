"""What lies beyond the box: a small network over directions, shared by all experts, or a fixed colour."""

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.backend import FieldBackend
from anerf.field.spec import FieldSpec

GREY = 0.5


def background_color(
    backend: FieldBackend,
    spec: FieldSpec,
    params: Float[Tensor, " p"] | None,
    rays_d: Float[Tensor, "r 3"],
) -> Float[Tensor, "r 3"]:
    """Colour behind each ray, in the spec's colour space."""
    if spec.background == "head":
        if params is None:
            raise ValueError("a background head needs its parameters")
        return backend.background(rays_d, params, spec.background_layout())
    if spec.background == "random":
        return torch.full_like(rays_d, GREY)
    fixed = [float(level) for level in spec.background.split(",")]
    return rays_d.new_tensor(fixed).expand_as(rays_d)


def training_background(
    backend: FieldBackend,
    spec: FieldSpec,
    params: Float[Tensor, " p"] | None,
    rays_d: Float[Tensor, "r 3"],
    generator: torch.Generator,
) -> Float[Tensor, "r 3"]:
    """As `background_color`, but noise where the spec says random: what is not there must become opaque."""
    if spec.background == "random":
        return torch.rand(rays_d.shape, generator=generator).to(rays_d)
    return background_color(backend, spec, params, rays_d)

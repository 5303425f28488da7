"""What lies beyond the box: a small network over directions, shared by all experts, or a fixed colour."""

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.encoding import spherical_harmonics
from anerf.field.spec import BACKGROUND_SH_DEGREE, FieldSpec
from anerf.field.torch_field import mlp

GREY = 0.5


def background_color(
    spec: FieldSpec, params: Float[Tensor, " p"] | None, rays_d: Float[Tensor, "r 3"]
) -> Float[Tensor, "r 3"]:
    """Colour behind each ray, in the spec's colour space."""
    if spec.background == "head":
        if params is None:
            raise ValueError("a background head needs its parameters")
        encoded = spherical_harmonics(rays_d, BACKGROUND_SH_DEGREE)
        return torch.sigmoid(mlp(encoded, params, spec.background_layout()))
    if spec.background == "random":
        return torch.full_like(rays_d, GREY)
    fixed = [float(level) for level in spec.background.split(",")]
    return rays_d.new_tensor(fixed).expand_as(rays_d)


def training_background(
    spec: FieldSpec,
    params: Float[Tensor, " p"] | None,
    rays_d: Float[Tensor, "r 3"],
    generator: torch.Generator,
) -> Float[Tensor, "r 3"]:
    """As `background_color`, but noise where the spec says random: what is not there must become opaque."""
    if spec.background == "random":
        return torch.rand(rays_d.shape, generator=generator).to(rays_d)
    return background_color(spec, params, rays_d)

"""Volume rendering of samples along rays: the quadrature of Max 1995 as in Mildenhall et al. 2020, eq. 3."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Composite:
    """What a batch of rays sees; `depth` in the unit of t, `weights`: each sample's share of its ray."""

    rgb: Float[Tensor, "r 3"]
    depth: Float[Tensor, " r"]
    opacity: Float[Tensor, " r"]
    weights: Float[Tensor, "*n"]

    @property
    def transmittance(self) -> Float[Tensor, " r"]:
        """The share of the background in each ray."""
        return 1 - self.opacity


def sample_weights(sigma: Float[Tensor, "r k"], lengths: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
    """Share of each sample in its ray: `T_i (1 - exp(-sigma_i delta_i))`."""
    optical = sigma * lengths
    before = torch.cumsum(optical, dim=1) - optical
    return torch.exp(-before) * -torch.expm1(-optical)


def composite_matrix(
    rgb: Float[Tensor, "r k 3"],
    sigma: Float[Tensor, "r k"],
    t_starts: Float[Tensor, "r k"],
    t_ends: Float[Tensor, "r k"],
    background: Float[Tensor, "r 3"],
) -> Composite:
    """Blend k samples of each ray front to back over a background.

    Depth is the expected distance of the opaque part: the weighted mean of the samples' middles, divided by
    the opacity; 0 where a ray hits nothing.
    """
    weights = sample_weights(sigma, t_ends - t_starts)
    opacity = weights.sum(1)
    color = (weights[..., None] * rgb).sum(1) + (1 - opacity)[:, None] * background
    middle = (t_starts + t_ends) / 2
    depth = (weights * middle).sum(1) / opacity.clamp(min=1e-6)
    return Composite(color, depth, opacity, weights)

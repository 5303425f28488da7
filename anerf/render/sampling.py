"""Where along a ray the field is evaluated: importance sampling from a coarse density profile.

A sampler driven by its own density confirms its mistakes, so a share of the samples (`floor`) is spread
evenly over all coarse steps, also behind surfaces: density can always grow where nothing was seen.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OPAQUE_TRANSMITTANCE = 2e-3


@dataclass(frozen=True)
class CoarseSteps:
    """Even steps between a ray's bounds: where a density grid is read."""

    t_near: Float[Tensor, " r"]
    step: Float[Tensor, " r"]
    t: Float[Tensor, "r c"]


def coarse_steps(
    t_near: Float[Tensor, " r"], t_far: Float[Tensor, " r"], n_coarse: int, jitter: Float[Tensor, " r"]
) -> CoarseSteps:
    """`n_coarse` even steps a ray; `jitter` in [0, 1) says where in each step the grid is read."""
    step = (t_far - t_near).clamp(min=0) / n_coarse
    k = torch.arange(n_coarse, device=t_near.device, dtype=t_near.dtype)
    return CoarseSteps(t_near, step, t_near[:, None] + step[:, None] * (k + jitter[:, None]))


def sampling_profile(
    sigma: Float[Tensor, "r c"], allowed: Bool[Tensor, "r c"], step: Float[Tensor, " r"], floor: float
) -> Float[Tensor, "r c"]:
    """Relative number of samples for each coarse step, not normalised.

    Half of each step's weight is shared with its larger neighbour, since the surface may lie just beside
    the cell; `floor` is the exploration share relative to a fully opaque ray. Steps that are not allowed
    (outside the height bounds) get nothing.
    """
    alpha = -torch.expm1(-sigma * step[:, None])
    transmittance = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(transmittance[:, :1]), transmittance[:, :-1]], dim=1)
    weight = torch.where(before < OPAQUE_TRANSMITTANCE, torch.zeros_like(alpha), alpha * before)
    neighbour = torch.nn.functional.max_pool1d(weight[:, None], 3, stride=1, padding=1)[:, 0]
    spread = 0.5 * (weight + neighbour) + floor / weight.shape[1]
    return torch.where(allowed, spread, torch.zeros_like(spread))


def draw_intervals(
    profile: Float[Tensor, "r c"], steps: CoarseSteps, n_samples: int, jitter: Float[Tensor, "r e"]
) -> tuple[Float[Tensor, "r k"], Float[Tensor, "r k"], Bool[Tensor, " r"]]:
    """Split each ray into `n_samples` touching intervals of equal profile mass (inverse transform sampling).

    Args:
        profile: mass of each coarse step.
        steps: the coarse steps.
        n_samples: intervals a ray.
        jitter: `n_samples + 1` numbers in [0, 1) a ray, one for each interval border (0.5 = regular).

    Returns:
        t_starts, t_ends and which rays have any mass; the others' intervals have no length.
    """
    total = profile.sum(1)
    hit = total > 0
    cdf = torch.cumsum(profile, dim=1) / total.clamp(min=1e-12)[:, None]
    border = torch.arange(n_samples + 1, device=profile.device, dtype=profile.dtype)
    u = (border + jitter) / (n_samples + 1)
    cell = torch.searchsorted(cdf, u.contiguous(), right=False).clamp(max=profile.shape[1] - 1)
    cdf_low = torch.where(cell > 0, cdf.gather(1, (cell - 1).clamp(min=0)), torch.zeros_like(u))
    mass = cdf.gather(1, cell) - cdf_low
    inside = ((u - cdf_low) / mass.clamp(min=1e-12)).clamp(0, 1)
    t = steps.t_near[:, None] + steps.step[:, None] * (cell + inside)
    t = torch.where(hit[:, None], t, steps.t_near[:, None])
    return t[:, :-1], t[:, 1:], hit

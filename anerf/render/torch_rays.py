"""What happens along rays, in plain torch: the twin of `cpu_rays`, on any device and twice differentiable."""

import math

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from anerf.geometry.boxes import intersect_aabb
from anerf.render.compositing import Composite, composite_matrix
from anerf.render.density_grid import UPDATE_RATE, DensityGrid
from anerf.render.guide import Guide
from anerf.render.samples import March, Samples, Sampling
from anerf.render.sampling import coarse_steps, draw_intervals, sampling_profile


def importance_samples(
    guide: Guide,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling,
    jitter: Float[Tensor, " r"],
    border_jitter: Float[Tensor, "r k1"],
) -> Samples:
    """Samples where the guide believes density, and a share everywhere; see `sampling`.

    `jitter` moves a ray's coarse steps, `border_jitter` (`n_samples + 1` a ray) its intervals' borders; both
    in [0, 1), 0.5 for regular ones.
    """
    t_near, t_far = _bounds(guide, rays_o, rays_d, sampling)
    steps = coarse_steps(t_near, t_far, sampling.n_coarse, jitter)
    sigma, allowed = guide.lookup(rays_o[:, None] + rays_d[:, None] * steps.t[..., None])
    profile = sampling_profile(sigma, allowed & (steps.step > 0)[:, None], steps.step, sampling.floor)
    t_starts, t_ends, hit = draw_intervals(profile, steps, sampling.n_samples, border_jitter)
    return _packed(rays_o, rays_d, t_starts, t_ends, hit[:, None].expand_as(t_starts))


def march_samples(
    guide: Guide,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    march: March,
    shift: Float[Tensor, " r"] | None = None,
    first: Int32[Tensor, " r"] | None = None,
) -> Samples:
    """Even steps where the guide is denser than a threshold, until it is opaque; see `March`.

    A ray's steps begin `shift` in [0, 1) of a step early. The first step that it passes over has the number
    `first`, 0 or above: those whose number `explore_every` divides are explored. Both are 0 where not given.
    """
    t_near, t_far = _bounds(guide, rays_o, rays_d, march)
    shift = torch.zeros_like(t_near) if shift is None else shift
    first = torch.zeros_like(t_near, dtype=torch.int32) if first is None else first
    step = torch.full_like(t_near, march.step)
    _, _, kept = _marched(guide, rays_o, rays_d, march, t_near, t_far, step, shift, first)
    step = step * (kept.sum(1) / march.max_samples).clamp(min=1).to(step)
    t_starts, t_ends, kept = _marched(guide, rays_o, rays_d, march, t_near, t_far, step, shift, first)
    return _packed(rays_o, rays_d, t_starts, t_ends, kept & (kept.cumsum(1) <= march.max_samples))


def _marched(
    guide: Guide,
    rays_o: Tensor,
    rays_d: Tensor,
    march: March,
    t_near: Tensor,
    t_far: Tensor,
    step: Float[Tensor, " r"],
    shift: Tensor,
    first: Tensor,
) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r s"], Bool[Tensor, "r s"]]:
    """Starts and ends of all steps of that length, and which are worth keeping."""
    n_steps = int(((t_far - t_near) / step).ceil().max()) + 1 if len(rays_o) else 0
    k = torch.arange(n_steps, device=rays_o.device, dtype=rays_o.dtype)
    t = t_near[:, None] + step[:, None] * (k - shift[:, None])
    middle = t + 0.5 * step[:, None]
    sigma, allowed = guide.lookup(rays_o[:, None] + rays_d[:, None] * middle[..., None])
    is_open = allowed & (t < t_far[:, None]) & (t_far > t_near)[:, None]
    matter = is_open & (sigma > march.threshold)
    optical = torch.where(matter, sigma * step[:, None], 0.0)
    matter &= optical.cumsum(1) - optical < -math.log(march.opaque)
    kept = matter
    if march.explore_every:
        passed = is_open & ~matter
        number = passed.cumsum(1) - 1 + first[:, None]
        kept = matter | (passed & (number % march.explore_every == 0))
    return t.maximum(t_near[:, None]), torch.minimum(t + step[:, None], t_far[:, None]), kept


def composite(
    rgb: Float[Tensor, "n 3"],
    sigma: Float[Tensor, " n"],
    samples: Samples,
    background: Float[Tensor, "r 3"],
) -> Composite:
    """Blend each ray's samples front to back over its background; see `compositing`."""
    shape, place = samples.padded()

    def matrix(values: Tensor) -> Tensor:
        flat = values.new_zeros(shape[0] * shape[1], *values.shape[1:])
        return flat.index_copy(0, place, values).view(*shape, *values.shape[1:])

    seen = composite_matrix(
        matrix(rgb), matrix(sigma), matrix(samples.t_starts), matrix(samples.t_ends), background
    )
    return Composite(seen.rgb, seen.depth, seen.opacity, seen.weights.reshape(-1)[place])


@torch.no_grad()
def update_density(
    grid: DensityGrid, x: Float[Tensor, "n 3"], sigma: Float[Tensor, " n"], sigma_max: float
) -> None:
    """Move the cells that hold samples towards the samples' mean density.

    A cell with n samples moves by `1 - (1 - UPDATE_RATE)^n`, as if they came one after another. Densities are
    cut at `sigma_max`, so that one spike does not hold all samples of its cell for hundreds of steps.
    """
    # Only the cells that were hit: a grid has millions, a batch meets thousands.
    cell, seat = grid.cells(x).unique(return_inverse=True)
    count = sigma.new_zeros(len(cell)).index_add_(0, seat, torch.ones_like(sigma))
    total = sigma.new_zeros(len(cell)).index_add_(0, seat, sigma.clamp(max=sigma_max))
    rate = 1 - (1 - UPDATE_RATE) ** count
    flat = grid.values.view(-1)
    before = flat[cell]
    flat[cell] = torch.where(before >= 0, before + rate * (total / count - before), before)


def _bounds(
    guide: Guide, rays_o: Tensor, rays_d: Tensor, limits: Sampling | March
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Where rays are inside the box and the job's bounds; a miss has `t_far == t_near`."""
    t_near, t_far = intersect_aabb(rays_o, rays_d, guide.box)
    t_near = t_near.clamp(min=limits.t_min)
    return t_near, torch.maximum(t_near, t_far.clamp(max=limits.t_max))


def _packed(rays_o: Tensor, rays_d: Tensor, t_starts: Tensor, t_ends: Tensor, kept: Tensor) -> Samples:
    ray, column = kept.nonzero(as_tuple=True)
    start, end = t_starts[ray, column], t_ends[ray, column]
    x = rays_o[ray] + rays_d[ray] * ((start + end) / 2)[:, None]
    ends = kept.sum(1).cumsum(0, dtype=torch.int32)
    offsets: Int32[Tensor, " r1"] = torch.cat([ends.new_zeros(1), ends])
    return Samples(x, start, end, ray.int(), offsets)

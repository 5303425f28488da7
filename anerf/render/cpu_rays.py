"""What happens along rays, by our own kernels on the CPU: the same as `torch_rays`, many times faster."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.native import call, checked, checked_index, first_order
from anerf.field.threads import n_threads
from anerf.geometry.cameras import Camera
from anerf.render.compositing import Composite
from anerf.render.density_grid import UPDATE_RATE, DensityGrid
from anerf.render.guide import Guide
from anerf.render.samples import March, Samples, Sampling

MAX_COARSE = 256  # as in sampling.cpp
MAX_STEPS = 65536  # as in sampling.cpp: of a march through the box
MAX_SAMPLES = 2**31 - 1  # of all rays together: they are counted in int32


class DensityGridStruct(ctypes.Structure):
    """`DensityGrid` in sampling.hpp."""

    _fields_ = (
        ("lo", ctypes.c_float * 3),
        ("per_unit", ctypes.c_float * 3),
        ("n", ctypes.c_int32 * 3),
        ("unused", ctypes.c_int32),
        ("values", ctypes.c_void_p),
    )


class GuideStruct(ctypes.Structure):
    """`Guide` in sampling.hpp."""

    _fields_ = (
        ("lo", ctypes.c_float * 3),
        ("hi", ctypes.c_float * 3),
        ("n_grids", ctypes.c_int32),
        ("dims", ctypes.c_int32),
        ("only", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("grids", ctypes.POINTER(DensityGridStruct)),
        ("centroids", ctypes.c_void_p),
    )


class LensStruct(ctypes.Structure):
    """`Lens` in lens.hpp."""

    _fields_ = (
        ("family", ctypes.c_int32),
        ("radial_only", ctypes.c_int32),
        *((name, ctypes.c_float) for name in ("fx", "fy", "cx", "cy", "reach", "limit")),
        ("k", ctypes.c_float * 12),
    )


def importance_samples(
    guide: Guide,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling,
    jitter: Float[Tensor, " r"],
    border_jitter: Float[Tensor, "r k1"],
) -> Samples:
    """See `torch_rays.importance_samples`."""
    if not 1 <= sampling.n_coarse <= MAX_COARSE or sampling.n_samples < 1:
        raise BackendError(
            f"{sampling.n_samples} samples from {sampling.n_coarse} coarse steps cannot be drawn: take at"
            f" least one sample and 1 to {MAX_COARSE} coarse steps"
        )
    r, k = len(rays_o), sampling.n_samples
    _check_total(r, k)
    rays_o, rays_d = checked("rays_o", rays_o, (r, 3)), checked("rays_d", rays_d, (r, 3))
    jitter, border_jitter = (
        checked("jitter", jitter, (r,)),
        checked("border_jitter", border_jitter, (r, k + 1)),
    )
    struct, _kept = _guide_struct(guide)
    counts, t_starts, t_ends = torch.empty(r, dtype=torch.int32), torch.empty(r, k), torch.empty(r, k)
    call(
        "anerf_importance_samples", n_threads(), r, rays_o, rays_d, struct, float(sampling.t_min),
        float(sampling.t_max), sampling.n_coarse, k, float(sampling.floor), jitter, border_jitter,
        counts, t_starts, t_ends,
    )  # fmt: skip
    return _packed(rays_o, rays_d, counts, t_starts, t_ends)


def march_samples(
    guide: Guide,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    march: March,
    shift: Float[Tensor, " r"] | None = None,
    first: Int32[Tensor, " r"] | None = None,
) -> Samples:
    """See `torch_rays.march_samples`."""
    if not (march.step > 0 and 0 < march.opaque < 1 and march.max_samples >= 1 and march.explore_every >= 0):
        raise BackendError(
            f"{march} cannot be marched: the step must be positive, `opaque` between 0 and 1, at least one"
            " sample allowed, and `explore_every` a whole number from 0"
        )
    if math.dist(guide.box.lo, guide.box.hi) / march.step > MAX_STEPS:
        raise BackendError(
            f"a step of {march.step} is too short to march through a box of {guide.box.size}: take at most"
            f" {MAX_STEPS} steps from corner to corner"
        )
    r, k = len(rays_o), march.max_samples
    _check_total(r, k)
    rays_o, rays_d = checked("rays_o", rays_o, (r, 3)), checked("rays_d", rays_d, (r, 3))
    shift = checked("shift", torch.zeros(r) if shift is None else shift, (r,))
    first = torch.zeros(r, dtype=torch.int32) if first is None else first
    first = checked("first", first, (r,), torch.int32)
    struct, _kept = _guide_struct(guide)
    counts, t_starts, t_ends = torch.empty(r, dtype=torch.int32), torch.empty(r, k), torch.empty(r, k)
    call(
        "anerf_march_samples", n_threads(), r, rays_o, rays_d, struct, float(march.t_min), float(march.t_max),
        float(march.step), float(march.threshold), float(march.opaque), march.explore_every, k, shift, first,
        counts, t_starts, t_ends,
    )  # fmt: skip
    return _packed(rays_o, rays_d, counts, t_starts, t_ends)


def composite(
    rgb: Float[Tensor, "n 3"],
    sigma: Float[Tensor, " n"],
    samples: Samples,
    background: Float[Tensor, "r 3"],
) -> Composite:
    """See `torch_rays.composite`; differentiable once in rgb, sigma and background."""
    return Composite(
        *_Composite.apply(rgb, sigma, background, samples.t_starts, samples.t_ends, samples.offsets)
    )


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        rgb: Tensor,
        sigma: Tensor,
        background: Tensor,
        t_starts: Tensor,
        t_ends: Tensor,
        offsets: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, r = len(sigma), len(offsets) - 1
        rgb, sigma = checked("rgb", rgb, (n, 3)), checked("sigma", sigma, (n,))
        background = checked("background", background, (r, 3))
        t_starts, t_ends = checked("t_starts", t_starts, (n,)), checked("t_ends", t_ends, (n,))
        offsets = checked("offsets", offsets, (r + 1,), torch.int32)
        if offsets[0] != 0 or offsets[-1] != n or (offsets[1:] < offsets[:-1]).any():
            raise BackendError(f"the offsets of {r} rays must rise from 0 to the {n} samples that there are")
        out, depth, opacity, weights = torch.empty(r, 3), torch.empty(r), torch.empty(r), torch.empty(n)
        call(
            "anerf_composite", n_threads(), r, offsets, sigma, rgb, t_starts, t_ends, background, out, depth,
            opacity, weights,
        )  # fmt: skip
        ctx.save_for_backward(rgb, background, t_starts, t_ends, offsets, depth, opacity, weights)
        return out, depth, opacity, weights

    @staticmethod
    @first_order
    def backward(ctx: Any, d_rgb: Tensor, d_depth: Tensor, d_opacity: Tensor, d_weights: Tensor):  # type: ignore[override]
        rgb, background, t_starts, t_ends, offsets, depth, opacity, weights = ctx.saved_tensors
        n, r = len(rgb), len(depth)
        upstream = (
            checked("d_rgb", d_rgb, (r, 3)),
            checked("d_depth", d_depth, (r,)),
            checked("d_opacity", d_opacity, (r,)),
            checked("d_weights", d_weights, (n,)),
        )
        d_sigma, d_samples, d_background = (
            torch.empty(n),
            torch.empty_like(rgb),
            torch.empty_like(background),
        )
        call(
            "anerf_composite_backward", n_threads(), r, offsets, rgb, t_starts, t_ends, background, depth,
            opacity, weights, *upstream, d_sigma, d_samples, d_background,
        )  # fmt: skip
        return d_samples, d_sigma, d_background, None, None, None


def update_density(
    grid: DensityGrid, x: Float[Tensor, "n 3"], sigma: Float[Tensor, " n"], sigma_max: float
) -> None:
    """See `torch_rays.update_density`."""
    n = len(sigma)
    struct = _grid_struct(grid)
    x, sigma = checked("x", x, (n, 3)), checked("sigma", sigma, (n,))
    call("anerf_update_density", struct, n, x, sigma, float(sigma_max), UPDATE_RATE)


def camera_rays(
    cameras: Sequence[Camera],
    camera_of: Int32[Tensor, " p"],
    c2w: Float[Tensor, "p 3 4"],
    pose: Int32[Tensor, " n"],
    xy: Float[Tensor, "n 2"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """As `geometry.rays.rays_from_pixels`, for pixels `xy` of many pictures at once.

    `pose` is each pixel's row of `c2w`, and `camera_of` each row's camera.
    """
    n, poses = len(xy), len(c2w)
    lenses = (LensStruct * len(cameras))(*(_lens_struct(camera) for camera in cameras))
    camera_of = checked_index("camera_of", camera_of, poses, len(cameras))
    pose = checked_index("pose", pose, n, poses)
    c2w, xy = checked("c2w", c2w, (poses, 3, 4)), checked("xy", xy, (n, 2))
    rays_o, rays_d = torch.empty(n, 3), torch.empty(n, 3)
    call("anerf_rays", n_threads(), n, lenses, camera_of, c2w, pose, xy, rays_o, rays_d)
    return rays_o, rays_d


def _lens_struct(camera: Camera) -> LensStruct:
    lens = camera.lens
    sizes = (camera.fx, camera.fy, camera.cx, camera.cy, lens.reach, lens.limit)
    return LensStruct(lens.family, lens.radial_only, *sizes, (ctypes.c_float * 12)(*lens.k))


def _check_total(n_rays: int, n_samples: int) -> None:
    if n_rays * n_samples > MAX_SAMPLES:
        raise BackendError(
            f"{n_rays} rays of {n_samples} samples are more than {MAX_SAMPLES} at once: take fewer rays at a"
            " time"
        )


def _grid_struct(grid: DensityGrid) -> DensityGridStruct:
    nz, ny, nx = grid.values.shape
    # Not `checked`: a copy of the values would take the updates in place of the grid.
    if grid.values.device.type != "cpu" or grid.values.dtype != torch.float32:
        raise BackendError(
            f"a density grid of {grid.values.dtype} on {grid.values.device} does not suit the cpu backend,"
            " which reads float32 on the CPU"
        )
    if not grid.values.is_contiguous() or not 0 < grid.values.numel() < 2**31:
        raise BackendError(
            f"a density grid of shape {tuple(grid.values.shape)} must be contiguous and have 1 to 2^31 - 1"
            " cells"
        )
    n = torch.tensor([nx, ny, nz])
    lo, per_unit = (ctypes.c_float * 3)(*grid.lo), (ctypes.c_float * 3)(*(n / (grid.hi - grid.lo)))
    return DensityGridStruct(lo, per_unit, (ctypes.c_int32 * 3)(*n), 0, grid.values.data_ptr())


def _guide_struct(guide: Guide) -> tuple[GuideStruct, tuple[object, ...]]:
    """The guide as the kernels read it, and what must live as long as it is used."""
    if not guide.grids:
        raise BackendError("a guide without a density grid cannot say where samples belong: give it one")
    grids = (DensityGridStruct * len(guide.grids))(*(_grid_struct(g) for g in guide.grids))
    centroids = checked("centroids", guide.centroids, (len(guide.grids), 3))
    if guide.dims not in (2, 3):
        raise BackendError(f"a partition has 2 or 3 dimensions, not {guide.dims}")
    lo, hi = (ctypes.c_float * 3)(*guide.box.lo), (ctypes.c_float * 3)(*guide.box.hi)
    only = -1 if guide.only is None else guide.only
    struct = GuideStruct(lo, hi, len(guide.grids), guide.dims, only, 0, grids, centroids.data_ptr())
    return struct, (grids, centroids)


def _packed(rays_o: Tensor, rays_d: Tensor, counts: Tensor, t_starts: Tensor, t_ends: Tensor) -> Samples:
    r, stride = t_starts.shape
    offsets = torch.zeros(r + 1, dtype=torch.int32)
    torch.cumsum(counts, 0, dtype=torch.int32, out=offsets[1:])
    n = int(offsets[-1])
    x, starts, ends = torch.empty(n, 3), torch.empty(n), torch.empty(n)
    ray_index = torch.empty(n, dtype=torch.int32)
    call(
        "anerf_pack_samples", n_threads(), r, stride, offsets, rays_o, rays_d, t_starts, t_ends, ray_index,
        starts, ends, x,
    )  # fmt: skip
    return Samples(x, starts, ends, ray_index, offsets)

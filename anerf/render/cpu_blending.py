"""Samples among experts and their answers together, by our own kernels on the CPU; see `torch_blending`."""

import ctypes

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.native import call, checked, checked_index
from anerf.field.threads import n_threads
from anerf.render.router import MIN_WEIGHT, Answer, Answered, Router
from anerf.render.samples import Samples

TILE = 2048  # as in blending.cpp
MAX_ANSWERS = 2**31 - 1  # they are counted in int32


class RouterStruct(ctypes.Structure):
    """`Router` in blending.cpp."""

    _fields_ = (
        ("n_experts", ctypes.c_int32),
        ("dims", ctypes.c_int32),
        ("only", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("margin", ctypes.c_float),
        ("least_weight", ctypes.c_float),
        ("centroids", ctypes.c_void_p),
        ("cubes", ctypes.c_void_p),
    )


def route(router: Router, samples: Samples) -> list[Answer]:
    """See `torch_blending.route`."""
    n, n_experts = len(samples.x), len(router.centroids)
    if router.dims not in (2, 3) or not router.margin >= 1:
        raise BackendError(
            f"samples cannot be routed in {router.dims} dimensions with a margin of {router.margin}: take"
            " 2 or 3, and at least 1"
        )
    if n_experts == 0 or n * n_experts > MAX_ANSWERS:
        raise BackendError(
            f"{n} samples cannot be routed among {n_experts} experts: it takes one, and at most {MAX_ANSWERS}"
            " answers at once"
        )
    x = checked("x", samples.x, (n, 3))
    ray_index = checked_index("ray_index", samples.ray_index, n, samples.n_rays)
    centroids = checked("centroids", router.centroids, (n_experts, 3))
    cubes = checked("cubes", router.cubes, (n_experts, 4)).clone()
    cubes[:, 3] = 1 / cubes[:, 3]
    only = -1 if router.only is None else router.only
    struct = RouterStruct(
        n_experts, router.dims, only, 0, router.margin, MIN_WEIGHT, centroids.data_ptr(), cubes.data_ptr()
    )
    counts = torch.zeros(n_experts, -(-n // TILE), dtype=torch.int32)
    call("anerf_route_count", n_threads(), n, x, struct, counts)
    ends = counts.view(-1).cumsum(0, dtype=torch.int32).view_as(counts)
    starts, total = (ends - counts).contiguous(), int(counts.sum())
    sample, ray = torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=torch.int32)
    weight, unit = torch.empty(total), torch.empty(total, 3)
    call("anerf_route", n_threads(), n, x, ray_index, struct, starts, sample, ray, weight, unit)
    answers, end = [], 0
    for expert, count in enumerate(counts.sum(1).tolist()):
        mine = slice(end, end := end + count)
        if count:
            answers.append(Answer(expert, sample[mine], ray[mine], weight[mine], unit[mine]))
    return answers


def blend(n_samples: int, answered: list[Answered]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """See `torch_blending.blend`."""
    rgb, sigma = torch.zeros(n_samples, 3), torch.zeros(n_samples)
    for part in answered:
        m, answer = len(part.sigma), part.answer
        sample = checked_index("sample", answer.sample, m, n_samples)
        weight, expert_rgb = checked("weight", answer.weight, (m,)), checked("rgb", part.rgb, (m, 3))
        expert_sigma = checked("sigma", part.sigma, (m,))
        call("anerf_blend", n_threads(), m, sample, weight, expert_rgb, expert_sigma, rgb, sigma)
    rgb /= sigma.clamp(min=1e-10)[:, None]
    return rgb, sigma


def givers(
    n_rays: int, n_experts: int, answered: list[Answered], weights: Float[Tensor, " n"]
) -> Float[Tensor, "r e"]:
    """See `torch_blending.givers`."""
    given = torch.zeros(n_rays, n_experts)
    weights = checked("weights", weights, (len(weights),))
    for answer in (part.answer for part in answered):
        m = len(answer.sample)
        if not 0 <= answer.expert < n_experts:
            raise BackendError(f"expert {answer.expert} gave an answer where 0 to {n_experts - 1} exist")
        sample = checked_index("sample", answer.sample, m, len(weights))
        ray = checked_index("ray_index", answer.ray_index, m, n_rays)
        weight = checked("weight", answer.weight, (m,))
        call("anerf_give", m, answer.expert, n_experts, sample, ray, weight, weights, given)
    return given

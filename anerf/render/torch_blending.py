"""Samples among experts and their answers together, in plain torch: the twin of `cpu_blending`."""

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.partition.routing import routing_weights
from anerf.render.router import MIN_WEIGHT, Answer, Answered, Router
from anerf.render.samples import Samples


def route(router: Router, samples: Samples) -> list[Answer]:
    """Each sample to the experts whose region holds it; experts without samples are left out."""
    weight = routing_weights(samples.x, router.centroids, router.margin, router.dims)
    answers = []
    for expert in range(len(router.centroids)):
        if router.only not in (None, expert):
            continue
        mine = (weight[:, expert] > MIN_WEIGHT).nonzero()[:, 0]
        if len(mine):
            unit = ((samples.x[mine] - router.cubes[expert, :3]) / router.cubes[expert, 3]).clamp(0, 1)
            answers.append(Answer(expert, mine.int(), samples.ray_index[mine], weight[mine, expert], unit))
    return answers


def blend(n_samples: int, answered: list[Answered]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Densities are weighted means of the experts', colours density-weighted means."""
    device = answered[0].sigma.device if answered else torch.device("cpu")
    sigma, rgb = torch.zeros(n_samples, device=device), torch.zeros(n_samples, 3, device=device)
    for part in answered:
        share = part.sigma * part.answer.weight
        sigma.index_add_(0, part.answer.sample, share)
        rgb.index_add_(0, part.answer.sample, part.rgb * share[:, None])
    return rgb / sigma.clamp(min=1e-10)[:, None], sigma


def givers(
    n_rays: int, n_experts: int, answered: list[Answered], weights: Float[Tensor, " n"]
) -> Float[Tensor, "r e"]:
    """How much of each ray's picture each expert gave; `weights` are the samples' shares of their rays."""
    given = weights.new_zeros(n_rays, n_experts)
    for part in answered:
        share = weights[part.answer.sample] * part.answer.weight
        given[:, part.answer.expert].index_add_(0, part.answer.ray_index, share)
    return given

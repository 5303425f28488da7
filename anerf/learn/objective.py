"""What is minimised: the photometric loss of a batch of rays through one expert."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.params import FieldParams
from anerf.field.spec import FieldSpec
from anerf.learn.rays import RayBatch
from anerf.learn.state import ExpertState
from anerf.render.background import training_background
from anerf.render.expert import FieldSetting, Sampling, draw_samples, render_samples


@dataclass(frozen=True)
class Learner:
    """What every learning step of an expert needs and none changes."""

    spec: FieldSpec
    setting: FieldSetting
    sampling: Sampling
    optimizer: str


def weighted_mse(
    rgb: Float[Tensor, "r 3"], target: Float[Tensor, "r 3"], weight: Float[Tensor, " r"]
) -> Float[Tensor, ""]:
    """Mean squared error over the rays that count."""
    return ((rgb - target) ** 2 * weight[:, None]).sum() / (3 * weight.sum().clamp(min=1))


def batch_loss(
    learner: Learner,
    state: ExpertState,
    batch: RayBatch,
    generator: torch.Generator,
    params: FieldParams | None = None,
    background: Float[Tensor, " b"] | None = None,
    update_density: bool = True,
) -> Float[Tensor, ""]:
    """Loss of a batch under the state's parameters, or under fast ones.

    Densities that were evaluated anyway refresh the density grid.
    """
    expert = state.model(params)
    background = state.background if background is None else background
    samples = draw_samples(expert, batch.rays_o, batch.rays_d, learner.sampling, generator)
    behind = training_background(learner.spec, background, batch.rays_d, generator)
    seen, sigma = render_samples(expert, learner.setting, samples, batch.rays_d, batch.code, behind)
    if update_density:
        with torch.no_grad():
            real = (samples.t_ends > samples.t_starts).reshape(-1)
            sigma_max = 2 * torch.e**learner.setting.scale.log_cap
            state.density.update(samples.x.reshape(-1, 3)[real], sigma.detach().reshape(-1)[real], sigma_max)
    return weighted_mse(seen.rgb, batch.rgb, batch.weight)


def grads_of(
    loss: Float[Tensor, ""], state: ExpertState, params: FieldParams | None = None
) -> dict[str, Tensor]:
    """Gradients of a loss with respect to the parameters (or to fast ones) and the background, by name."""
    named = dict((params or state.params).items())
    if state.background is not None:
        named["background"] = state.background
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, grads, strict=True) if grad is not None}

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
from anerf.render.expert import FieldSetting, draw_samples, render_samples
from anerf.render.guide import Guide
from anerf.render.samples import March, Sampling


@dataclass(frozen=True)
class Learner:
    """What every learning step of an expert needs and none changes."""

    spec: FieldSpec
    setting: FieldSetting
    sampling: Sampling | March
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
    update_density: bool = True,
    learn_exposures: bool = True,
) -> Float[Tensor, ""]:
    """Loss of a batch under the state's parameters, or under fast ones.

    Densities that were evaluated anyway refresh the density grid, and colours what is known of exposures
    unless the batch's are not the photographs' own.
    """
    expert, setting = state.model(params), learner.setting
    guide = Guide.of_expert(expert.box, expert.grid)
    samples = draw_samples(guide, setting, batch.rays_o, batch.rays_d, learner.sampling, generator)
    behind = training_background(setting.backend, learner.spec, state.background, batch.rays_d, generator)
    seen, sigma = render_samples(expert, setting, samples, batch.rays_d, batch.code, behind)
    if update_density:
        sigma_max = 2 * torch.e**setting.scale.log_cap
        setting.rays.update_density(state.density, samples.x, sigma.detach(), sigma_max)
    rgb = seen.rgb
    if state.exposures is not None:
        if update_density and learn_exposures and state.evidence is not None:
            state.evidence.observe(rgb, batch.rgb, batch.weight, batch.image)
        rgb = state.exposures.applied(rgb, batch.image)
    return weighted_mse(rgb, batch.rgb, batch.weight)


def grads_of(
    loss: Float[Tensor, ""], state: ExpertState, params: FieldParams | None = None
) -> dict[str, Tensor]:
    """Gradients of a loss by name: of the parameters (or of fast ones), the background and inner rates.

    The grid's is missing where the parameters have a `touched` gradient: it was added there.
    """
    named = dict((params or state.params).items()) | state.beside_the_field()
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, grads, strict=True) if grad is not None}

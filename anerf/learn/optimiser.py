"""Adam, AdamW and SGD over flat vectors; values of the table that a batch did not touch stay as they are.

Dense Adam moves every value of the table at every step on its old momentum; here only values with a gradient
move, as in tiny-cuda-nn. Kingma & Ba 2015; Loshchilov & Hutter 2019 for the decoupled decay.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.native import call, checked_in_place
from anerf.field.threads import n_threads
from anerf.field.touched import TouchedGradient

BETA1 = 0.9
BETA2 = 0.99
EPSILON = 1e-15
ADAMW_DECAY = 1e-2


@dataclass
class Moments:
    """Adam's running means of one vector; `steps` counts its updates."""

    first: Float[Tensor, " p"]
    second: Float[Tensor, " p"]
    steps: int = 0

    def to(self, device: torch.device) -> "Moments":
        """The same moments on another device."""
        return Moments(self.first.to(device), self.second.to(device), self.steps)

    @staticmethod
    def zeros_like(parameter: Float[Tensor, " p"]) -> "Moments":
        """Moments of a vector that was never stepped."""
        return Moments(torch.zeros_like(parameter), torch.zeros_like(parameter))


def adam_delta(
    grad: Tensor, first: Tensor, second: Tensor, steps: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """New moments, and how far Adam moves: Kingma & Ba 2015, algorithm 1; `steps` counts this one."""
    first = torch.lerp(first, grad, 1 - BETA1)
    second = torch.lerp(second, grad * grad, 1 - BETA2)
    corrected = (second / (1 - BETA2**steps)).sqrt_().add_(EPSILON)
    return first, second, (rate / (1 - BETA1**steps)) * first / corrected


@torch.no_grad()
def step_dense(
    kind: str, parameter: Float[Tensor, " p"], grad: Float[Tensor, " p"], moments: Moments, rate: float
) -> None:
    """One step of `kind` (adam, adamw, sgd) in place on a network's vector."""
    moments.steps += 1
    if kind == "sgd":
        parameter.sub_(grad, alpha=rate)
        return
    if kind == "adamw":
        parameter.mul_(1 - rate * ADAMW_DECAY)
    first, second, delta = adam_delta(grad, moments.first, moments.second, moments.steps, rate)
    moments.first.copy_(first)
    moments.second.copy_(second)
    parameter.sub_(delta)


@torch.no_grad()
def step_sparse(
    kind: str, table: Float[Tensor, " p"], grad: Float[Tensor, " p"], moments: Moments, rate: float
) -> None:
    """One step in place on those of the table's values that have a gradient."""
    moments.steps += 1
    if kind == "sgd":
        table.sub_(grad, alpha=rate)
        return
    moved = grad.nonzero()[:, 0]
    first, second, delta = adam_delta(
        grad[moved], moments.first[moved], moments.second[moved], moments.steps, rate
    )
    moments.first[moved] = first
    moments.second[moved] = second
    table.index_add_(0, moved, delta, alpha=-1)


@torch.no_grad()
def step_touched(
    kind: str, table: Float[Tensor, " p"], touched: TouchedGradient, moments: Moments, rate: float
) -> None:
    """As `step_sparse`, by a kernel that visits only touched lines and clears their gradient."""
    if kind == "sgd":
        sgd_touched(table, touched, rate)
        moments.steps += 1
        return
    n = table.numel()
    touched.check(n)
    vectors = {"grid": table, "moments.first": moments.first, "moments.second": moments.second}
    values, first, second = (checked_in_place(name, vector, (n,)) for name, vector in vectors.items())
    moments.steps += 1
    call(
        "anerf_adam_touched", n_threads(), len(touched.marks), touched.marks, values, touched.values, first,
        second, rate / (1 - BETA1**moments.steps), 1 / (1 - BETA2**moments.steps), BETA1, BETA2, EPSILON,
    )  # fmt: skip


@torch.no_grad()
def sgd_touched(table: Float[Tensor, " p"], touched: TouchedGradient, rate: float) -> None:
    """`table -= rate gradient` on touched lines, whose gradient is cleared."""
    touched.check(table.numel())
    values = checked_in_place("grid", table, (table.numel(),))
    call(
        "anerf_sgd_touched",
        n_threads(),
        len(touched.marks),
        touched.marks,
        values,
        touched.values,
        float(rate),
    )


@dataclass(frozen=True)
class Rates:
    """Learning rates per parameter group, decaying exponentially to `1 / decay_factor` over `outer_steps`.

    For the share `hold` of the steps they stay as they are first. `inner` is the rate at which the inner
    loop's rates are learned, where they are.
    """

    grid: float
    sigma: float
    color: float
    background: float
    inner: float = 0.0
    decay_factor: float = 1.0
    outer_steps: int = 1
    warmup_steps: int = 0
    hold: float = 0.0

    def factor(self, step: int) -> float:
        """What all rates are multiplied with at a step (0-based)."""
        progress = min(step / self.outer_steps, 1.0)
        decaying = max(progress - self.hold, 0.0) / (1 - self.hold) if self.hold < 1 else 0.0
        decay = self.decay_factor**-decaying
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return decay * warmup


@dataclass(frozen=True)
class FisherDamping:
    """Running diagonal Fisher estimate that damps gradients of parameters that matter.

    `g <- g / (1 + lambda F / (mean F + epsilon))` with `F <- beta F + (1 - beta) g^2`, the square of the
    batch's gradient (cf. Kirkpatrick et al. 2017, whose quadratic penalty this replaces by a step size).
    """

    strength: float
    beta: float
    epsilon: float

    @torch.no_grad()
    def damped(
        self, estimates: dict[str, Tensor], name: str, grad: Float[Tensor, " p"]
    ) -> Float[Tensor, " p"]:
        """The damped gradient of the vector `name`; updates its estimate."""
        squared = grad * grad
        if name in estimates:
            squared = torch.lerp(estimates[name], squared, 1 - self.beta)
        estimates[name] = squared
        return grad / (1 + self.strength * squared / (squared.mean() + self.epsilon))

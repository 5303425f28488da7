"""Learning the photographs' exposures while the scene is learned.

Maps are not stepped by gradients: each is the ridge regression from what the experts render to what the
photograph shows, over the rays of the last hundred or so steps. All experts' evidence is added up, so that
neighbours agree. Only differences between photographs can be known: the mean map is kept the identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.render.exposure import Exposures

FORGET = 0.99  # of the evidence, each step
RIDGE = 30.0  # rays' worth of belief in the identity
ENOUGH_RAYS = 30.0
SETTLED_STEPS = 100  # before that, what is rendered says little


@dataclass
class ExposureEvidence:
    """Normal equations of each photograph's regression, by id; those of `fixed` photographs stay empty."""

    xx: Float[Tensor, "n 4 4"]
    xy: Float[Tensor, "n 4 3"]
    fixed: Bool[Tensor, " n"]

    @staticmethod
    def none(n: int, fixed: Bool[Tensor, " n"] | None = None) -> "ExposureEvidence":
        """Of `n` photographs of which nothing was seen yet."""
        free = torch.zeros(n, dtype=torch.bool)
        return ExposureEvidence(torch.zeros(n, 4, 4), torch.zeros(n, 4, 3), free if fixed is None else fixed)

    @torch.no_grad()
    def observe(
        self,
        rgb: Float[Tensor, "r 3"],
        target: Float[Tensor, "r 3"],
        weight: Float[Tensor, " r"],
        image: Int[Tensor, " r"],
    ) -> None:
        """Add rays: colours in the scene's look beside the photographs' (ids); forget old ones a little."""
        image = image.to(self.xx.device)
        counts = weight.to(self.xx) * ~self.fixed[image]
        x = torch.cat([rgb.detach().to(self.xx), torch.ones(len(rgb), 1)], dim=1) * counts[:, None]
        self.xx.mul_(FORGET).index_add_(0, image, x[:, :, None] * x[:, None, :])
        self.xy.mul_(FORGET).index_add_(0, image, x[:, :, None] * target.to(self.xy)[:, None, :])


def solved_exposures(
    evidence: Sequence[tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 3"]]], before: Exposures
) -> Exposures:
    """The maps that all experts' evidence together gives; photographs without enough of it keep theirs."""
    xx, xy = (torch.stack(parts).sum(0) for parts in zip(*evidence, strict=True))
    seen = xx[:, 3, 3] >= ENOUGH_RAYS
    if not seen.any():
        return before
    ridge, identity = RIDGE * torch.eye(4), torch.eye(4, 3)
    maps = torch.linalg.solve(xx[seen] + ridge, xy[seen] + ridge @ identity)
    merged = before.maps.clone()
    merged[seen] = maps - maps.mean(0) + identity
    return Exposures(merged, before.known | seen)


def neighbours_exposure(exposures: Exposures, order: Sequence[int], photograph: int) -> Float[Tensor, "4 3"]:
    """What a photograph's map probably is: the mean of those taken just before and just after it.

    A camera's exposure drifts slowly along a flight. Nothing of the photograph itself is used, so this may
    stand in for it when it is measured on.

    Args:
        exposures: known maps.
        order: ids of the flight's photographs as they were taken.
        photograph: the id in question.
    """
    at = order.index(photograph)
    known = exposures.known.tolist()
    before = next((i for i in reversed(order[:at]) if known[i]), None)
    after = next((i for i in order[at + 1 :] if known[i]), None)
    found = [i for i in (before, after) if i is not None]
    return exposures.maps[found].mean(0) if found else torch.eye(4, 3)

"""Learning the photographs' exposures while the scene is learned.

Maps are not stepped by gradients: each is the ridge regression from what the experts render to what the
photograph shows, over the rays of the last hundred or so steps. All experts' evidence is added up, so that
neighbours agree. Only differences between photographs can be known, so the mean map stays as it is: the
identity for the survey, and for a later flight what brings the scene's mean colour to the flight's at once.
(The slopes of that first regression would be too flat, since much of what is rendered does not fit yet.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.render.exposure import Exposures

FORGET = 0.99  # of the evidence, each step
RIDGE = 30.0  # rays' worth of belief in the identity
ENOUGH_RAYS = 30.0
ENOUGH_PHOTOGRAPHS = 8  # to see how a camera meters
METERING_RIDGE = 1e-4  # colour^2
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

    def seen(self) -> tuple[Int[Tensor, " m"], Float[Tensor, "m 4 4"], Float[Tensor, "m 4 3"]]:
        """Ids and equations of the photographs of which something was seen, few of a city's."""
        ids = self.xx[:, 3, 3].nonzero()[:, 0]
        return ids, self.xx[ids], self.xy[ids]


def added_up(
    seen: Iterable[Sequence[Tensor]], n: int
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 3"]]:
    """Evidence for `n` photographs of all experts, from what each has `seen` (its three tensors)."""
    xx, xy = torch.zeros(n, 4, 4), torch.zeros(n, 4, 3)
    for ids, of_one_xx, of_one_xy in seen:
        xx.index_add_(0, ids, of_one_xx)
        xy.index_add_(0, ids, of_one_xy)
    return xx, xy


def solved_exposures(
    evidence: Sequence[tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 3"]]],
    before: Exposures,
    flight: int = 0,
) -> Exposures:
    """The maps that all experts' evidence for a flight gives; photographs without enough keep theirs."""
    xx, xy = (torch.stack(parts).sum(0) for parts in zip(*evidence, strict=True))
    seen = xx[:, 3, 3] >= ENOUGH_RAYS
    if not seen.any():
        return before
    maps, identity = _regressed(xx[seen], xy[seen]), torch.eye(4, 3)
    shown = xx[seen, 3, :3] / xx[seen, 3, 3:]
    common = identity if flight == 0 else before.look(flight)
    if common is None:
        common = identity.clone()
        common[3] = ((xy[seen, 3] / xx[seen, 3, 3:]) - shown).mean(0)
    merged, means = before.maps.clone(), before.means.clone()
    merged[seen] = maps - maps.mean(0) + common
    means[seen] = shown
    return Exposures(merged, before.known | seen, means, before.flight)


def common_exposure(
    rgb: Float[Tensor, "r 3"], target: Float[Tensor, "r 3"], weight: Float[Tensor, " r"]
) -> Float[Tensor, "4 3"]:
    """The one map that brings rendered rays closest to photographed ones."""
    x = torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1)
    weighted = x * weight[:, None]
    return _regressed(weighted.T @ x, weighted.T @ target)


def _regressed(xx: Float[Tensor, "*n 4 4"], xy: Float[Tensor, "*n 4 3"]) -> Float[Tensor, "*n 4 3"]:
    """Maps by ridge regression towards the identity, from normal equations."""
    ridge = RIDGE * torch.eye(4).to(xx)
    return torch.linalg.solve(xx + ridge, xy + ridge @ torch.eye(4, 3).to(xx))


def expected_exposure(
    exposures: Exposures, order: Sequence[int], photograph: int, mean: Float[Tensor, " 3"]
) -> Float[Tensor, "4 3"]:
    """What a photograph's map probably is. Nothing of the photograph itself is used.

    A camera exposes for what it sees: the flight's maps are regressed (ridge) on what their photographs show
    on average in the scene's look. What that leaves drifts slowly along a flight: the mean of what it leaves
    at the known photographs just before and just after is added. A flight of few known photographs has that
    alone.

    Args:
        exposures: known maps.
        order: ids of the flight's photographs as they were taken.
        photograph: the id in question.
        mean: mean colour of its rendered view in the scene's look.
    """
    at = order.index(photograph)
    known = [i for i in order if exposures.known[i] and i != photograph]
    before = [i for i in known if order.index(i) < at][-1:]
    after = [i for i in known if order.index(i) > at][:1]
    if not known:
        return torch.eye(4, 3)
    maps, means = exposures.maps[known].flatten(1), exposures.means[known]
    slope = torch.zeros(3, 12)
    if len(known) >= ENOUGH_PHOTOGRAPHS:
        shown = means - means.mean(0)
        ridge = METERING_RIDGE * len(known) * torch.eye(3)
        slope = torch.linalg.solve(shown.T @ shown + ridge, shown.T @ (maps - maps.mean(0)))
    left = exposures.maps[before + after].flatten(1) - exposures.means[before + after] @ slope
    return (left.mean(0) + mean @ slope).view(4, 3)

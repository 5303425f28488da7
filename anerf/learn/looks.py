"""Looks: how a task makes the same ground look as on another day.

A later flight differs from the survey in season, light and camera, and where something has changed. Tasks of
a meta-training should contain that, in support and query alike: a random affine colour map stands for the
day, a patch of ground with a map of its own for the change, and a flight code says which day it is.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.field.params import FLIGHT_CODE_DIM, flight_code
from anerf.learn.rays import RayBatch

DAY = 0.25  # standard deviation of the gains between channels at strength 1
DAY_OFFSET = 0.1
PATCH = 1.0
PATCH_SHARE = (0.1, 0.4)  # of the cell's longer side: the patch's radius
FLIGHTS = 2 * FLIGHT_CODE_DIM - 1  # codes that can be told apart, beside the survey's


@dataclass(frozen=True)
class Look:
    """Colour maps ([rgb, 1] @ map) of a day and of a round patch of ground (ENU metres); a flight code."""

    day: Float[Tensor, "4 3"]
    patch: Float[Tensor, "4 3"]
    center_xy: Float[Tensor, " 2"]
    radius_m: float
    code: Float[Tensor, " c"]

    def worn_by(self, batch: RayBatch, xy: Float[Tensor, "r 2"]) -> RayBatch:
        """The batch as photographed on that day; `xy` is about where each ray meets the ground."""
        inside = ((xy - self.center_xy) ** 2).sum(1, keepdim=True) < self.radius_m**2
        one = torch.cat([batch.rgb, torch.ones_like(batch.rgb[:, :1])], dim=1)
        day = one @ self.day.to(one)
        patched = one @ self.patch.to(one)
        rgb = torch.where(inside.to(one.device), patched, day).clamp(0, 1)
        return replace(batch, rgb=rgb, code=self.code.to(batch.code).expand_as(batch.code))


def drawn_look(xy: Float[Tensor, "n 2"], strength: float, generator: torch.Generator) -> Look:
    """A random look of the ground around `xy` (ENU metres), as far from the survey's as `strength`."""
    lo, hi = xy.amin(0), xy.amax(0)
    place, size = torch.rand(2, generator=generator), torch.rand(1, generator=generator)
    low, high = PATCH_SHARE
    return Look(
        day=_color_map(DAY * strength, DAY_OFFSET * strength, generator),
        patch=_color_map(PATCH * DAY * strength, PATCH * strength, generator),
        center_xy=lo + place.to(lo) * (hi - lo),
        radius_m=float((low + size * (high - low)) * (hi - lo).max()),
        code=flight_code(1 + int(torch.randint(FLIGHTS, (1,), generator=generator))),
    )


def _color_map(gain: float, offset: float, generator: torch.Generator) -> Float[Tensor, "4 3"]:
    """Near the identity; greys keep their tint apart from the offset, since rows of the noise sum to 0."""
    noise = torch.randn(3, 3, generator=generator) * gain
    noise = noise - noise.mean(0)
    brightness = 1 + gain * torch.randn(1, generator=generator)
    shift = torch.randn(3, generator=generator) * (offset / 3) + torch.randn(1, generator=generator) * offset
    return torch.cat([(torch.eye(3) + noise) * brightness, shift[None]])

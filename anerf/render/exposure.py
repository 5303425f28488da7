"""Each photograph's own exposure and tint: an affine colour map from the look of the scene to its own.

As in Urban Radiance Fields (Rematas et al. 2022, section 4.2). Maps act in the field's colour space.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.errors import CheckpointError
from anerf.render.color import from_srgb, to_srgb


@dataclass(frozen=True)
class Exposures:
    """`maps[i]` is that of the photograph with id `i`: `rgb_i = [rgb, 1] @ maps[i]`; `known` says which were
    learned. The others' are the identity. `means[i]` is the mean colour of what a known photograph shows, in
    the scene's look: what its camera had to expose for. `flight` is the number of its flight, 0 the survey.
    """

    maps: Float[Tensor, "n 4 3"]
    known: Bool[Tensor, " n"]
    means: Float[Tensor, "n 3"]
    flight: Int[Tensor, " n"]

    @staticmethod
    def identity(flight: Int[Tensor, " n"]) -> "Exposures":
        """Of photographs of these flights of which nothing is known yet."""
        n = len(flight)
        maps, known = torch.eye(4, 3).repeat(n, 1, 1), torch.zeros(n, dtype=torch.bool)
        return Exposures(maps, known, torch.zeros(n, 3), flight)

    def grown(self, flight: Int[Tensor, " n"]) -> "Exposures":
        """The same for n photographs, of these flights; what is known stays."""
        grown = Exposures.identity(flight.clone()).to(self.maps.device)
        kept = self.known[: len(flight)].nonzero()[:, 0]
        grown.maps[kept], grown.known[kept] = self.maps[kept], True
        grown.means[kept], grown.flight[kept] = self.means[kept], self.flight[kept]
        return grown

    def look(self, flight: int) -> Float[Tensor, "4 3"] | None:
        """The map that a flight's photographs share; None for the survey, whose look is the scene's."""
        ids = (self.known & (self.flight == flight)).nonzero()[:, 0]
        return self.maps[ids].mean(0) if flight and len(ids) else None

    def named(self) -> dict[str, np.ndarray]:
        """As arrays that travel between processes and lie in checkpoints; `of_named` reads them."""
        return {
            "exposure.maps": self.maps.cpu().numpy(),
            "exposure.known": self.known.cpu().numpy().astype(np.uint8),
            "exposure.means": self.means.cpu().numpy(),
            "exposure.flight": self.flight.cpu().numpy(),
        }

    @staticmethod
    def of_named(arrays: Mapping[str, np.ndarray]) -> "Exposures | None":
        """The inverse of `named`; None where there are no exposures among the arrays.

        Raises:
            CheckpointError: another version wrote them, which knew less.
        """
        if "exposure.maps" not in arrays:
            return None
        if lacking := [n for n in ("known", "means", "flight") if f"exposure.{n}" not in arrays]:
            raise CheckpointError(
                f"the exposures lack {', '.join(lacking)}: the checkpoint was written by another version,"
                " train again"
            )
        maps, known, means, flight = (
            torch.from_numpy(np.array(arrays[f"exposure.{name}"]))
            for name in ("maps", "known", "means", "flight")
        )
        return Exposures(maps, known != 0, means, flight)

    def to(self, device: torch.device) -> "Exposures":
        """The same maps on another device."""
        columns = (self.maps, self.known, self.means, self.flight)
        return Exposures(*(column.to(device) for column in columns))

    def applied(self, rgb: Float[Tensor, "r 3"], image: Int[Tensor, " r"]) -> Float[Tensor, "r 3"]:
        """Colours of rays as their photographs (ids) show them."""
        maps = self.maps[image]
        return torch.einsum("ri,rij->rj", rgb, maps[:, :3]) + maps[:, 3]


def exposed_rays(rgb: Float[Tensor, "*n 3"], exposure: Float[Tensor, "4 3"]) -> Float[Tensor, "*n 3"]:
    """Colours (in the field's colour space) under one map."""
    exposure = exposure.to(rgb)
    return rgb @ exposure[:3] + exposure[3]


def exposed(
    srgb: Float[np.ndarray, "h w 3"], exposure: Float[Tensor, "4 3"], color_space: str
) -> Float[np.ndarray, "h w 3"]:
    """A picture (sRGB) under one map."""
    rgb = from_srgb(torch.from_numpy(srgb).float(), color_space)
    return to_srgb(exposed_rays(rgb, exposure), color_space).numpy()

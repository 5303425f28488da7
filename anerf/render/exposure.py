"""Each photograph's own exposure and tint: an affine colour map from the look of the scene to its own.

As in Urban Radiance Fields (Rematas et al. 2022, section 4.2). Maps act in the field's colour space.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anerf.render.color import from_srgb, to_srgb


@dataclass(frozen=True)
class Exposures:
    """`maps[i]` is that of the photograph with id `i`: `rgb_i = [rgb, 1] @ maps[i]`; `known` says which were
    learned. The others' are the identity. `means[i]` is the mean colour of what a known photograph shows, in
    the scene's look: what its camera had to expose for.
    """

    maps: Float[Tensor, "n 4 3"]
    known: Bool[Tensor, " n"]
    means: Float[Tensor, "n 3"]

    @staticmethod
    def identity(n: int) -> "Exposures":
        """Of `n` photographs of which nothing is known yet."""
        return Exposures(torch.eye(4, 3).repeat(n, 1, 1), torch.zeros(n, dtype=torch.bool), torch.zeros(n, 3))

    def grown(self, n: int) -> "Exposures":
        """The same for at least `n` photographs."""
        more = Exposures.identity(max(0, n - len(self.maps)))
        pairs = ((self.maps, more.maps), (self.known, more.known), (self.means, more.means))
        return Exposures(*(torch.cat(pair) for pair in pairs))

    def named(self) -> dict[str, np.ndarray]:
        """As arrays that travel between processes and lie in checkpoints; `of_named` reads them."""
        return {
            "exposure.maps": self.maps.cpu().numpy(),
            "exposure.known": self.known.cpu().numpy().astype(np.uint8),
            "exposure.means": self.means.cpu().numpy(),
        }

    @staticmethod
    def of_named(arrays: Mapping[str, np.ndarray]) -> "Exposures | None":
        """The inverse of `named`; None where there are no exposures among the arrays."""
        if "exposure.maps" not in arrays:
            return None
        maps, known, means = (
            torch.from_numpy(np.array(arrays[f"exposure.{name}"])) for name in ("maps", "known", "means")
        )
        return Exposures(maps, known != 0, means)

    def to(self, device: torch.device) -> "Exposures":
        """The same maps on another device."""
        return Exposures(self.maps.to(device), self.known.to(device), self.means.to(device))

    def applied(self, rgb: Float[Tensor, "r 3"], image: Int[Tensor, " r"]) -> Float[Tensor, "r 3"]:
        """Colours of rays as their photographs (ids) show them."""
        maps = self.maps[image]
        return torch.einsum("ri,rij->rj", rgb, maps[:, :3]) + maps[:, 3]


def exposed(
    srgb: Float[np.ndarray, "h w 3"], exposure: Float[Tensor, "4 3"], color_space: str
) -> Float[np.ndarray, "h w 3"]:
    """A picture (sRGB) under one photograph's map."""
    rgb = from_srgb(torch.from_numpy(srgb).float(), color_space)
    seen = rgb @ exposure[:3] + exposure[3]
    return to_srgb(seen, color_space).numpy()

"""What a view of a scene looks like, as plain arrays: what renderers give and products are made of."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16

SURFACE_OPACITY = 0.1
"""From which opacity on a ray ends on a surface: what looks like the background is thin in a field."""


@dataclass(frozen=True)
class Picture:
    """A rendered view. `depth_m` to the surface along the ray (0 where nothing), `expert` -1 where none."""

    rgb: Float[np.ndarray, "h w 3"]
    depth_m: Float[np.ndarray, "h w"]
    opacity: Float[np.ndarray, "h w"]
    expert: Int16[np.ndarray, "h w"]


@dataclass(frozen=True)
class SeenRays:
    """What rays see; columns as those of `Picture`."""

    rgb: Float[np.ndarray, "n 3"]
    depth_m: Float[np.ndarray, " n"]
    opacity: Float[np.ndarray, " n"]
    expert: Int16[np.ndarray, " n"]

    def picture(self, height: int, width: int) -> Picture:
        """The same as pixels, row by row."""
        shape = (height, width)
        return Picture(
            self.rgb.reshape(*shape, 3),
            self.depth_m.reshape(shape),
            self.opacity.reshape(shape),
            self.expert.reshape(shape),
        )

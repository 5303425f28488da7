"""What a person has chosen to see, as plain values: what a picture of the viewer depends on."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from anerf.geometry.cameras import Camera

ShownLayer = Literal["rgb", "depth", "opacity", "expert", "normals"]
RampName = Literal["viridis", "magma", "grey"]
Background = Literal["learned", "black", "white", "grey"]
TimeMode = Literal["after", "before", "difference", "wipe"]
SEEN_AS_PHONE_ASPECT, SEEN_AS_WALL_ASPECT = 0.3, 4.0


@dataclass(frozen=True)
class Appearance:
    """How colours are made. `near_m`, `far_m` along the ray; `range_m` of the legend, None: the picture's."""

    layer: ShownLayer = "rgb"
    ramp: RampName = "viridis"
    range_m: tuple[float, float] | None = None
    exposure_ev: float = 0.0
    background: Background = "learned"
    near_m: float = 0.0
    far_m: float = math.inf


@dataclass(frozen=True)
class Quality:
    """Samples a ray and width in pixels of the picture at rest."""

    samples: int = 16
    width_px: int = 512


@dataclass(frozen=True)
class Times:
    """Which of two checkpoints, or both: with `wipe`, the left `share` of the picture is the one before."""

    mode: TimeMode = "after"
    share: float = 0.5


@dataclass(frozen=True)
class Choices:
    """All of it; `expert` None means all, `flight` None the first."""

    appearance: Appearance = field(default_factory=Appearance)
    expert: int | None = None
    flight: str | None = None
    quality: Quality = field(default_factory=Quality)
    times: Times = field(default_factory=Times)


@dataclass(frozen=True, eq=False)
class View:
    """What one client wants to see: `c2w` in ENU metres, OpenGL axes; `aspect` width by height."""

    c2w: Float[np.ndarray, "3 4"]
    fov_y_deg: float
    aspect: float
    choices: Choices

    @property
    def full_width_px(self) -> int:
        """Of the picture at rest: as chosen, or less where a tall one would have more pixels than 4:3."""
        width_px = self.choices.quality.width_px
        return max(1, min(width_px, round(width_px * math.sqrt(0.75 * self._seen_aspect))))

    def camera(self, width_px: int) -> Camera:
        """The lens for a picture `width_px` wide."""
        return Camera.from_fov(width_px, max(1, round(width_px / self._seen_aspect)), self.fov_y_deg)

    @property
    def _seen_aspect(self) -> float:
        return min(max(self.aspect, SEEN_AS_PHONE_ASPECT), SEEN_AS_WALL_ASPECT)

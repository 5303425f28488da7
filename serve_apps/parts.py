"""What renderers answer to those who ask them. Knows no torch."""

from dataclasses import dataclass

import numpy as np

from serve_apps.cache import CacheState


@dataclass(frozen=True)
class Shown:
    """What weights and whose look were shown; `mark` tells versions of a running job apart."""

    scene: str
    step: int
    flight: str
    mark: str | None = None


@dataclass(frozen=True)
class TilePart:
    """Some rows of a layer, see `LayerValues`; colours are bytes unless they are wanted as numbers."""

    values: np.ndarray
    opacity: np.ndarray
    shown: Shown
    render_s: float
    experts: tuple[int, ...]
    """Those that could have been asked."""


@dataclass(frozen=True)
class Spot:
    """A place on a surface: WGS 84, ENU metres about the scene's reference, metres along the ray."""

    latitude_deg: float
    longitude_deg: float
    height_m: float
    enu_m: tuple[float, float, float]
    depth_m: float
    opacity: float
    expert: int


@dataclass(frozen=True)
class RendererState:
    """Who rendered, and what was in its memory then."""

    name: str
    cache: CacheState

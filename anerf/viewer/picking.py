"""What lies under a click, and how far apart two clicks are."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.render.picture import render_rays
from anerf.render.scene_model import SceneModel
from anerf.render.view import SURFACE_OPACITY
from anerf.viewer.choices import Choices

_SAMPLES = 64


def surface_along(
    model: SceneModel, eye: Float[np.ndarray, "3"], direction: Float[np.ndarray, "3"], choices: Choices
) -> Float[np.ndarray, "3"] | None:
    """The surface (ENU metres) that a ray meets among what is shown; None where it goes through."""
    look, along = choices.appearance, direction / np.linalg.norm(direction)
    seen = render_rays(
        model,
        eye[None],
        along[None],
        samples=_SAMPLES,
        only_expert=choices.expert,
        near_m=np.array([look.near_m]),
        far_m=np.array([look.far_m]),
    )
    return None if seen.opacity[0] < SURFACE_OPACITY else eye + along * float(seen.depth_m[0])


@dataclass(frozen=True)
class Between:
    """From one point to another: straight and level distance, rise (metres), bearing from north (degrees)."""

    straight_m: float
    level_m: float
    rise_m: float
    bearing_deg: float

    @classmethod
    def of(cls, start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]) -> "Between":
        """Of two places in ENU metres."""
        east, north, up = (float(v) for v in end - start)
        level = math.hypot(east, north)
        return cls(math.hypot(level, up), level, up, math.degrees(math.atan2(east, north)) % 360)


def place_words(enu: Float[np.ndarray, "3"], reference: GeodeticReference) -> str:
    """Latitude, longitude and ellipsoidal height of a place, to about a decimetre."""
    latitude, longitude, height = enu_to_geodetic(enu[None], reference)[0]
    return f"{latitude:.6f}\u00b0, {longitude:.6f}\u00b0, {height:.1f}\u00a0m"

"""What frame a survey's poses are in: ECEF, local east-north-up metres, or a frame of their own.

Reconstructions come in all three, and nothing in their files says which. ECEF is told by its size, ENU by
what the survey or the user names or by agreeing with GPS up to a shift; what remains is turned, scaled and
placed by GPS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.alignment import Similarity, robust_similarity
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef, is_ecef
from anerf.scene.gps import GpsFix, fixes_ecef

HeightPrior = Literal["gps", "median"]
WorldKind = Literal["ecef", "enu", "unreferenced"]
# A frame that GPS turns and scales by no more than this is local east, north, up in metres.
_ENU_TURN_DEG, _ENU_SCALE = 3.0, 0.05
FEWEST_FIXES = 3


@dataclass(frozen=True, eq=False)
class World:
    """Maps a survey's coordinates to Earth."""

    kind: WorldKind
    how: str
    """For people: what the frame is and how that is known."""
    about: GeodeticReference | None = None
    """Where the ENU frame lies that `similarity` leads to; None for ECEF."""
    similarity: Similarity | None = None
    """From the survey's frame to ENU about `about`; None where they are the same."""
    heights_from_gps: bool = False
    """Whether GPS heights decided how the scene is tilted."""

    def into(self, reference: GeodeticReference, coordinates: np.ndarray) -> np.ndarray:
        """Points (..., 3) or poses (..., 3, 4) of the survey as ENU about `reference`."""
        if self.about is None:
            return ecef_to_enu(coordinates, reference)
        local = coordinates
        if self.similarity is not None:
            is_pose = coordinates.shape[-1] == 4
            local = self.similarity.poses(coordinates) if is_pose else self.similarity.points(coordinates)
        return local if self.about == reference else ecef_to_enu(enu_to_ecef(local, self.about), reference)

    def ecef(self, xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Points of the survey in ECEF."""
        return xyz if self.about is None else enu_to_ecef(self.into(self.about, xyz), self.about)


def world_of(
    cameras: Float[np.ndarray, "n 3"],
    fixes: Sequence[GpsFix | None],
    stated: GeodeticReference | None,
    height_prior: HeightPrior,
) -> World | None:
    """The frame of cameras at these places; None if it is neither ECEF nor stated nor told by GPS.

    `stated` is the origin of their ENU frame, if the survey or the user names one.
    """
    if is_ecef(cameras):
        return World("ecef", "poses in ECEF")
    if stated is not None:
        return World("enu", "poses in east, north, up metres about a stated origin", stated)
    if sum(fix is not None for fix in fixes) < FEWEST_FIXES:
        return None
    return _world_by_gps(cameras, fixes, height_prior)


@dataclass(frozen=True, eq=False)
class GpsFit:
    """The similarity from cameras to their GPS positions in ENU about a reference near them."""

    about: GeodeticReference
    similarity: Similarity
    used: tuple[int, ...]
    """Which cameras had GPS."""
    target: Float[np.ndarray, "k 3"]
    """Their GPS positions, ENU metres."""


def fit_to_gps(
    cameras: Float[np.ndarray, "n 3"], fixes: Sequence[GpsFix | None], height_prior: HeightPrior
) -> GpsFit:
    """Robustly turns, scales and places cameras to fit their GPS positions.

    With `height_prior` median all cameras are held to be at the median height: for flights at one level whose
    recorded heights drift. InputError if fewer than three cameras have GPS, or all stand on one line.
    """
    level = height_prior == "median"
    used = tuple(i for i, fix in enumerate(fixes) if fix is not None and (level or fix.height_m is not None))
    known = [fix for fix in (fixes[i] for i in used) if fix is not None]
    if len(known) < FEWEST_FIXES:
        raise InputError(
            f"{len(known)} of {len(fixes)} photographs have GPS with a height, but alignment needs "
            f"{FEWEST_FIXES}; give positions in gps.csv, or --height-prior median if only heights are "
            "missing"
        )
    if level:
        heights = [fix.height_m for fix in known if fix.height_m is not None]
        level_m = float(np.median(heights)) if heights else 0.0
        known = [GpsFix(fix.latitude_deg, fix.longitude_deg, level_m) for fix in known]
    places = fixes_ecef(known)
    about = GeodeticReference.from_ecef(places.mean(axis=0))
    target = ecef_to_enu(places, about)
    return GpsFit(about, robust_similarity(cameras[list(used)], target), used, target)


def _world_by_gps(
    cameras: Float[np.ndarray, "n 3"], fixes: Sequence[GpsFix | None], height_prior: HeightPrior
) -> World:
    fit = fit_to_gps(cameras, fixes, height_prior)
    stands, carry = cameras[list(fit.used)], fit.similarity
    heights_words = ", heights held at their median" if height_prior == "median" else ""
    if carry.angle_deg < _ENU_TURN_DEG and abs(carry.scale - 1) < _ENU_SCALE:
        shift = np.median(fit.target - stands, axis=0)
        how = f"poses in east, north, up metres, their zero placed by GPS of {len(stands)} photographs"
        return World("enu", how + heights_words, fit.about, Similarity(1.0, np.eye(3), shift))
    rms_m = float(np.sqrt(((carry.points(stands) - fit.target) ** 2).sum(axis=1).mean()))
    words = f"turned and scaled by {carry.scale:.6g} to GPS of {len(stands)} photographs"
    how = f"poses in a frame of their own, {words} ({rms_m:.2f} m rms{heights_words})"
    return World("unreferenced", how, fit.about, carry, heights_from_gps=height_prior == "gps")

"""Polynomial lens distortion and its inverse, over the whole of what the lens sees.

A lens moves the ideal coordinates of a point to where its picture is. Ideal coordinates are x / z, y / z for
perspective lenses, and for fisheyes the angle from the axis (radians) in the direction of x, y. Formulas:
Brown 1971 as in OpenCV's calib3d; Kannala and Brandt 2006 for fisheyes; Weng, Cohen and Herniou 1992 for
prisms; Fisheye624 of Project Aria for RAD_TAN_THIN_PRISM_FISHEYE.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.polynomial import polynomial
from torch import Tensor

from anerf.geometry.camera_models import Family

# No perspective picture reaches further (89.94 degrees from the axis).
_FARTHEST = 1e3
_BEFORE_POLE = (
    0.9998  # of its squared radius: the picture there is thousands of times as large as without lens
)
_NEGLIGIBLE = 1e-12  # share of the largest term at the farthest point
# Lenses with less move nothing by more than 1e-8 of its distance from the centre.
_STRAIGHT_OMEGA, _STRAIGHT_DIVISION = 1e-6, 1e-10
_NEWTON_STEPS = 20
# Newton's method inside a bracket, which is halved where a step leaves it or does not get shorter.
_BRACKET_STEPS = 60
Jacobian = tuple[Tensor, Tensor, Tensor, Tensor]
"""d moved_x / dx, d moved_x / dy, d moved_y / dx, d moved_y / dy."""


@dataclass(frozen=True)
class Lens:
    """A lens without focal lengths and centre."""

    family: Family
    k: tuple[float, ...]
    """Twelve coefficients in the family's order, zeros at the end."""
    reach: float
    """Radius in ideal coordinates up to which the radial distortion rises; beyond, it folds back."""

    @property
    def radial_only(self) -> bool:
        """Whether it moves points along the ray from the axis only."""
        if self.family == Family.THIN_PRISM_FISHEYE:
            return not any(self.k[i] for i in (2, 3, 6, 7))
        if self.family == Family.RAD_TAN_THIN_PRISM_FISHEYE:
            return not any(self.k[6:])
        return self.family == Family.FISHEYE or not any(self.k[2:4])

    @property
    def limit(self) -> float:
        """Where the radial distortion puts `reach`; of a lens without a polynomial, `reach` itself."""
        if not is_polynomial(self.family):
            return self.reach
        return float(_radial(self, torch.tensor(self.reach, dtype=torch.float64))[0])


@lru_cache(maxsize=256)
def lens_of(family: Family, coefficients: tuple[float, ...]) -> Lens:
    """The lens, as the simplest family that it belongs to."""
    k = (*coefficients, *(0.0,) * (12 - len(coefficients)))
    if family == Family.RAD_TAN_THIN_PRISM_FISHEYE and not any(k[6:]):
        family = Family.FISHEYE
    if family == Family.THIN_PRISM_FISHEYE and not any((*k[2:4], *k[6:])):
        family, k = Family.FISHEYE, (*k[:2], *k[4:6], *k[6:], 0.0, 0.0)
    if family == Family.FULL_OPENCV and not any(k[4:]):
        family = Family.OPENCV
    straight = {
        Family.OPENCV: not any(k[:4]),
        Family.FOV: abs(k[0]) < _STRAIGHT_OMEGA,
        Family.DIVISION: abs(k[0]) < _STRAIGHT_DIVISION,
        Family.EUCM: k[0] == 0,
    }
    if straight.get(family, False):
        family = Family.PINHOLE
    return Lens(family, k, _reach(family, k))


def radial_terms(family: Family, k: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the radial gain: polynomials in the squared radius, lowest power first."""
    if family == Family.FULL_OPENCV:
        return [1.0, k[0], k[1], k[4]], [1.0, k[5], k[6], k[7]]
    if family == Family.OPENCV:
        return [1.0, k[0], k[1]], [1.0]
    if family == Family.THIN_PRISM_FISHEYE:
        return [1.0, k[0], k[1], k[4], k[5]], [1.0]
    return [1.0, *k[:6]], [1.0]


def is_polynomial(family: Family) -> bool:
    """Whether the functions of this module are for the family."""
    return Family.OPENCV <= family <= Family.RAD_TAN_THIN_PRISM_FISHEYE


def distorted(lens: Lens, ideal: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n 2"], Bool[Tensor, "*n"]]:
    """Where the lens puts ideal coordinates, and whether they are within its reach.

    What lies beyond is drawn to the edge of the reach, so that positions are finite.
    """
    radius = ideal.norm(dim=-1)
    shrink = lens.reach / radius.clamp(min=lens.reach)
    moved, (xx, xy, yx, yy) = _moved(lens, ideal * shrink.unsqueeze(-1))
    return moved, (radius <= lens.reach) & (xx * yy - xy * yx > 0)


def undistorted(lens: Lens, moved: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n 2"], Bool[Tensor, "*n"]]:
    """The ideal coordinates within the lens's reach that it puts to `moved`, and whether there are any.

    Where there are none the answer is finite but meaningless.
    """
    if lens.family == Family.RAD_TAN_THIN_PRISM_FISHEYE:
        flat, seen = _newton(lens, moved, moved)
        ideal, within = _undo_radial(lens, flat)
        return ideal, seen & within
    start, within = _undo_radial(lens, moved)
    return (start, within) if lens.radial_only else _newton(lens, start, moved)


def _reach(family: Family, k: tuple[float, ...]) -> float:
    """The smallest radius at which the radial distortion has a summit or a pole."""
    farthest = math.pi if family >= Family.FISHEYE else _FARTHEST
    if not is_polynomial(family):
        return farthest
    top, bottom = radial_terms(family, k)
    with np.errstate(over="ignore", invalid="ignore"):
        # r * top / bottom, differentiated by r, has this numerator.
        bends = polynomial.polysub(
            polynomial.polymul(polynomial.polyder(top), bottom),
            polynomial.polymul(top, polynomial.polyder(bottom)),
        )
        slope = polynomial.polyadd(polynomial.polymul(top, bottom), polynomial.polymulx(2 * bends))
        if not np.isfinite(slope).all():
            return 0.0
        poles = [_BEFORE_POLE * root for root in _positive_roots(np.array(bottom), farthest)]
        ends = [*_positive_roots(slope, farthest), *poles]
    return min([math.sqrt(end) for end in ends] + [farthest])


def _positive_roots(terms: np.ndarray, farthest: float) -> list[float]:
    sizes = np.abs(terms) * farthest ** (2 * np.arange(len(terms)))
    matters = np.flatnonzero(sizes > _NEGLIGIBLE * sizes.max())
    if len(matters) == 0 or matters[-1] == 0:
        return []
    roots = polynomial.polyroots(terms[: matters[-1] + 1])
    real = roots.real[np.abs(roots.imag) <= 1e-9 * np.abs(roots)]
    return [float(root) for root in real if root > 0]


def _gain(lens: Lens, r2: Tensor) -> tuple[Tensor, Tensor]:
    """The radial gain and its derivative by the squared radius."""
    top, bottom = (_polynomial(terms, r2) for terms in radial_terms(lens.family, lens.k))
    gain = top[0] / bottom[0]
    return gain, (top[1] - gain * bottom[1]) / bottom[0]


def _polynomial(terms: list[float], r2: Tensor) -> tuple[Tensor, Tensor]:
    value, slope = torch.full_like(r2, terms[-1]), torch.zeros_like(r2)
    for term in terms[-2::-1]:
        value, slope = value * r2 + term, slope * r2 + value
    return value, slope


def _radial(lens: Lens, r: Tensor) -> tuple[Tensor, Tensor]:
    """Where a radius goes, and the derivative."""
    gain, slope = _gain(lens, r * r)
    return r * gain, gain + 2 * r * r * slope


def _undo_radial(lens: Lens, moved: Float[Tensor, "*n 2"]) -> tuple[Tensor, Tensor]:
    target = moved.norm(dim=-1)
    within = target <= lens.limit
    wanted = target.clamp(max=lens.limit)
    low, high = torch.zeros_like(target), torch.full_like(target, lens.reach)
    r, last = wanted.clamp(max=lens.reach), torch.full_like(target, math.inf)
    enough = 2 * torch.finfo(r.dtype).eps
    for _ in range(_BRACKET_STEPS):
        value, slope = _radial(lens, r)
        low, high = torch.where(value <= wanted, r, low), torch.where(value >= wanted, r, high)
        ahead = r - (value - wanted) / slope
        # Steps that do not get shorter may go round in circles.
        good = (ahead >= low) & (ahead <= high) & ((ahead - r).abs() <= last / 2)
        ahead = torch.where(good, ahead, (low + high) / 2)
        last = (ahead - r).abs()
        done = last <= enough * (1 + r)
        r = ahead
        if done.all():
            break
    stretch = torch.where(target > 0, r / target.clamp(min=torch.finfo(r.dtype).tiny), torch.ones_like(r))
    return moved * stretch.unsqueeze(-1), within


def _moved(lens: Lens, ideal: Tensor) -> tuple[Tensor, Jacobian]:
    """The distortion with its derivative; for RAD_TAN_THIN_PRISM_FISHEYE both parts, one after the other."""
    if lens.family != Family.RAD_TAN_THIN_PRISM_FISHEYE:
        return _plane(lens, ideal)
    x, y = ideal.unbind(-1)
    gain, slope = _gain(lens, x * x + y * y)
    moved, (xx, xy, yx, yy) = _plane(lens, ideal * gain.unsqueeze(-1))
    # The radial part's determinant is positive within the reach: its sign is that of the plane's alone.
    a, b, d = gain + 2 * slope * x * x, 2 * slope * x * y, gain + 2 * slope * y * y
    return moved, (xx * a + xy * b, xx * b + xy * d, yx * a + yy * b, yx * b + yy * d)


def _plane(lens: Lens, at: Tensor) -> tuple[Tensor, Jacobian]:
    """What Newton's method in the plane undoes: for RAD_TAN_THIN_PRISM_FISHEYE the second part, else all."""
    x, y = at.unbind(-1)
    r2 = x * x + y * y
    if lens.family == Family.RAD_TAN_THIN_PRISM_FISHEYE:
        gain, slope = torch.ones_like(x), torch.zeros_like(x)
        # dx = 2 p1 x y + p0 (r2 + 2 x x): the other way round than OpenCV's p1 and p2.
        p2, p1, sx, sx4, sy, sy4 = lens.k[6:]
    else:
        gain, slope = _gain(lens, r2)
        p1, p2 = (0.0, 0.0) if lens.family == Family.FISHEYE else lens.k[2:4]
        sx, sy = lens.k[6:8] if lens.family == Family.THIN_PRISM_FISHEYE else (0.0, 0.0)
        sx4 = sy4 = 0.0
    moved_x = x * gain + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (sx + sx4 * r2)
    moved_y = y * gain + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + r2 * (sy + sy4 * r2)
    prism_x, prism_y = 2 * sx + 4 * sx4 * r2, 2 * sy + 4 * sy4 * r2
    xx = gain + 2 * slope * x * x + 2 * p1 * y + 6 * p2 * x + prism_x * x
    xy = 2 * slope * x * y + 2 * p1 * x + 2 * p2 * y + prism_x * y
    yx = 2 * slope * x * y + 2 * p1 * x + 2 * p2 * y + prism_y * x
    yy = gain + 2 * slope * y * y + 2 * p2 * x + 6 * p1 * y + prism_y * y
    return torch.stack((moved_x, moved_y), dim=-1), (xx, xy, yx, yy)


def _newton(lens: Lens, start: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    at, eps = start, torch.finfo(start.dtype).eps
    for _ in range(_NEWTON_STEPS):
        moved, (xx, xy, yx, yy) = _plane(lens, at)
        rx, ry = (moved - wanted).unbind(-1)
        determinant = xx * yy - xy * yx
        step = torch.stack((yy * rx - xy * ry, xx * ry - yx * rx), dim=-1) / determinant.unsqueeze(-1)
        at = at - step
        if not (step.norm(dim=-1) > 2 * eps * (1 + at.norm(dim=-1))).any():
            break
    moved, (xx, xy, yx, yy) = _plane(lens, at)
    near = (moved - wanted).norm(dim=-1) <= 1e3 * eps * (1 + wanted.norm(dim=-1))
    seen = near & (xx * yy - xy * yx > 0)
    if lens.family != Family.RAD_TAN_THIN_PRISM_FISHEYE:
        seen &= at.norm(dim=-1) <= lens.reach
    return torch.where(seen.unsqueeze(-1), at, start), seen

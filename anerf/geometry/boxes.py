"""Axis-aligned boxes, and where rays pass through them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Aabb:
    """A box between two corners, in whatever frame and unit its owner says."""

    lo: Point
    hi: Point

    def __post_init__(self) -> None:
        """Refuses corners that are not finite or not in order."""
        corners = np.array([self.lo, self.hi], dtype=np.float64)
        if corners.shape != (2, 3) or not np.isfinite(corners).all() or (corners[0] > corners[1]).any():
            raise ValueError(f"a box needs two finite corners with lo <= hi, not {self.lo} and {self.hi}")

    @classmethod
    def of_points(cls, xyz: Float[np.ndarray, "n 3"]) -> "Aabb":
        """The smallest box that holds every point; at least one point is needed."""
        return cls(_point(xyz.min(axis=0)), _point(xyz.max(axis=0)))

    @property
    def size(self) -> Point:
        """Side lengths."""
        return _point(np.subtract(self.hi, self.lo))

    @property
    def center(self) -> Point:
        """The middle."""
        return _point(np.add(self.lo, self.hi) / 2)

    def contains(self, xyz: Float[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "*n"]:
        """Whether each point lies inside or on the border."""
        inside = (np.asarray(xyz) >= np.array(self.lo)) & (np.asarray(xyz) <= np.array(self.hi))
        return np.asarray(inside.all(axis=-1))

    def expanded(self, margin: float) -> "Aabb":
        """The box with every face moved outwards by `margin`."""
        return Aabb(_point(np.subtract(self.lo, margin)), _point(np.add(self.hi, margin)))

    def union(self, other: "Aabb") -> "Aabb":
        """The smallest box that holds both."""
        return Aabb(_point(np.minimum(self.lo, other.lo)), _point(np.maximum(self.hi, other.hi)))

    def intersection(self, other: "Aabb") -> "Aabb | None":
        """What both share; None where they do not touch."""
        lo, hi = np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi)
        return Aabb(_point(lo), _point(hi)) if (lo <= hi).all() else None

    def to_json(self) -> dict[str, list[float]]:
        """`{"lo": [x, y, z], "hi": [x, y, z]}`."""
        return {"lo": list(self.lo), "hi": list(self.hi)}

    @classmethod
    def from_json(cls, data: dict[str, list[float]]) -> "Aabb":
        """The inverse of `to_json`; ValueError where the numbers make no box."""
        return cls(_point(data["lo"]), _point(data["hi"]))


def intersect_aabb(
    rays_o: Float[Tensor, "n 3"], rays_d: Float[Tensor, "n 3"], aabb: Aabb
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Where each ray enters and leaves the box (slab test).

    Returns `t_near >= 0` and `t_far` in units of the direction's length. A ray that misses, or whose box
    lies behind it, gets `t_near == t_far == 0`; every hit has `t_far > t_near`.
    """
    lo, hi = rays_o.new_tensor(aabb.lo), rays_o.new_tensor(aabb.hi)
    # Below the smallest normal number 1 / d overflows, and 0 * inf would lose a ray that runs in a face.
    parallel = rays_d.abs() < torch.finfo(rays_d.dtype).tiny
    inverse = 1.0 / torch.where(parallel, torch.ones_like(rays_d), rays_d)
    t_lo, t_hi = (lo - rays_o) * inverse, (hi - rays_o) * inverse
    # A ray that runs along a slab never crosses its planes: it is inside for all t, or for none.
    inside = (rays_o >= lo) & (rays_o <= hi)
    infinity = torch.full_like(t_lo, float("inf"))
    t_enter = torch.where(parallel, torch.where(inside, -infinity, infinity), torch.minimum(t_lo, t_hi))
    t_leave = torch.where(parallel, infinity, torch.maximum(t_lo, t_hi))
    t_near, t_far = t_enter.amax(dim=-1).clamp(min=0.0), t_leave.amin(dim=-1)
    hit = t_far > t_near
    zero = torch.zeros_like(t_near)
    return torch.where(hit, t_near, zero), torch.where(hit, t_far, zero)


def _point(values: Sequence[float] | np.ndarray) -> Point:
    x, y, z = (float(v) for v in values)
    return x, y, z

"""Lenses: from the plane of a picture to viewing directions and back, for every family of camera models.

The plane has its zero on the lens's axis and focal length 1 (`(pixel - centre) / focal`). Directions here
have COLMAP's axes: x right, y down, z forward. A lens sees a direction if its picture is unambiguous there:
perspective lenses less than 90 degrees from the axis, fisheyes up to 180, both only as far as their radial
distortion still rises. Sources: Devernay and Faugeras 2001 (FOV), Fitzgibbon 2001 (division), Khomutenko,
Garcia and Martinet 2016 (EUCM); the polynomials are in `distortion`.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anerf.geometry.camera_models import Family
from anerf.geometry.distortion import Lens, distorted, is_polynomial, undistorted


def directions_of_plane(
    lens: Lens, plane: Float[Tensor, "*n 2"]
) -> tuple[Float[Tensor, "*n 3"], Bool[Tensor, "*n"]]:
    """Unit directions of places in the plane, and whether the lens has one for them.

    Where it has none, the direction is finite but meaningless.
    """
    directions, seen = _directions(lens, plane)
    return directions / directions.norm(dim=-1, keepdim=True), seen


def plane_of_points(
    lens: Lens, points: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n 2"], Bool[Tensor, "*n"]]:
    """Where points are in the plane, and whether the lens sees them; unseen ones are somewhere finite."""
    x, y, z = points.unbind(-1)
    across = points[..., :2]
    radius = across.norm(dim=-1)
    if lens.family == Family.EQUIRECTANGULAR:
        longitude, latitude = torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))
        return torch.stack((longitude, latitude), dim=-1), (radius > 0) | (z != 0)
    if lens.family == Family.DIVISION:
        return _divided(lens.k[0], across, radius, z)
    if lens.family == Family.EUCM:
        alpha, beta = lens.k[:2]
        rho = torch.sqrt(beta * radius * radius + z * z)
        depth = alpha * rho + (1 - alpha) * z
        seen = (z > -min(alpha / (1 - alpha), (1 - alpha) / alpha) * rho) if alpha < 1 else (z > 0)
        return across / torch.where(seen, depth, torch.ones_like(z)).unsqueeze(-1), seen
    if is_polynomial(lens.family) and lens.family >= Family.FISHEYE:
        angle = torch.atan2(radius, z)
        moved, within = distorted(lens, across * _ratio(angle, radius, 1.0).unsqueeze(-1))
        return moved, within & ((radius > 0) | (z > 0))
    ahead = z > 0
    depth = torch.where(ahead, z, torch.ones_like(z))
    if lens.family == Family.FOV:
        omega = abs(lens.k[0])
        tangent = 2 * math.tan(omega / 2)
        angle = torch.atan2(tangent * radius, depth) / omega
        return across * _ratio(angle, radius, tangent / omega).unsqueeze(-1), ahead
    ideal = across / depth.unsqueeze(-1)
    if lens.family == Family.PINHOLE:
        return ideal, ahead
    moved, within = distorted(lens, ideal)
    return moved, ahead & within


def _directions(lens: Lens, plane: Tensor) -> tuple[Tensor, Tensor]:
    u, v = plane.unbind(-1)
    everywhere = torch.ones_like(u, dtype=torch.bool)
    if lens.family == Family.PINHOLE:
        return _three(plane, torch.ones_like(u)), everywhere
    if is_polynomial(lens.family):
        ideal, seen = undistorted(lens, plane)
        if lens.family < Family.FISHEYE:
            return _three(ideal, torch.ones_like(u)), seen
        angle = ideal.norm(dim=-1)
        return _three(ideal * torch.sinc(angle / math.pi).unsqueeze(-1), torch.cos(angle)), seen
    if lens.family == Family.EQUIRECTANGULAR:
        level = torch.cos(v)
        directions = torch.stack((level * torch.sin(u), torch.sin(v), level * torch.cos(u)), dim=-1)
        return directions, (u.abs() <= math.pi * (1 + 1e-6)) & (v.abs() <= math.pi / 2 * (1 + 1e-6))
    radius = plane.norm(dim=-1)
    r2 = radius * radius
    if lens.family == Family.FOV:
        omega = abs(lens.k[0])
        angle = (radius * omega).clamp(max=math.pi / 2)
        sine = plane * _ratio(torch.sin(angle), radius, omega).unsqueeze(-1)
        return _three(sine, 2 * math.tan(omega / 2) * torch.cos(angle)), angle < math.pi / 2
    if lens.family == Family.DIVISION:
        return _three(plane, 1 + lens.k[0] * r2), lens.k[0] * r2 < 1
    alpha, beta = lens.k[:2]
    under_root = 1 - (2 * alpha - 1) * beta * r2
    below = (alpha * torch.sqrt(under_root.clamp(min=0)) + 1 - alpha).clamp(min=torch.finfo(u.dtype).eps)
    return _three(plane, (1 - alpha * alpha * beta * r2) / below), under_root > 0


def _divided(k: float, across: Tensor, radius: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The division model's picture: the smaller solution r of r z = radius (1 + k r^2), or the positive one.

    With k < 0 the lens sees all directions but the one straight behind.
    """
    under_root = z * z - 4 * k * radius * radius
    root = torch.sqrt(under_root.clamp(min=0))
    if k > 0:
        seen = (z > 0) & (under_root > 0)
        below = torch.where(seen, z + root, torch.ones_like(z))
        return across * (2 / below).unsqueeze(-1), seen
    seen = (radius > 0) | (z > 0)
    # Of the two forms of the solution, the one that does not cancel.
    below = torch.where(seen & (z > 0), z + root, torch.ones_like(z))
    ahead, behind = 2 / below, _ratio(root - z, -2 * k * radius * radius, 1.0)
    return across * torch.where(z > 0, ahead, behind).unsqueeze(-1), seen


def _three(across: Tensor, along: Tensor) -> Tensor:
    return torch.cat((across, along.unsqueeze(-1)), dim=-1)


def _ratio(above: Tensor, below: Tensor, at_zero: float) -> Tensor:
    some = below > 0
    return torch.where(some, above / torch.where(some, below, torch.ones_like(below)), at_zero)

"""Rays from posed cameras, and poses from where a camera should look."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from anerf.geometry.cameras import Camera, pixel_directions

_UP = (0.0, 0.0, 1.0)
_NORTH = (0.0, 1.0, 0.0)


def rays_from_pixels(
    camera: Camera, c2w: Float[Tensor, "*#n 3 4"], xy: Float[Tensor, "*n 2"]
) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n 3"]]:
    """Origins and unit directions, in the frame of `c2w`, of pixel positions (centres at +0.5).

    `c2w` is one pose for all pixels (3, 4) or one for each (n, 3, 4).
    """
    directions = pixel_directions(camera, xy)
    rays_d = (c2w[..., :3] * directions.unsqueeze(-2)).sum(dim=-1)
    return c2w[..., 3].expand_as(rays_d), rays_d


def look_at(
    eye: Float[np.ndarray, "3"] | tuple[float, float, float],
    target: Float[np.ndarray, "3"] | tuple[float, float, float],
    up: Float[np.ndarray, "3"] | tuple[float, float, float] = _UP,
) -> Float[np.ndarray, "3 4"]:
    """Camera-to-world pose (OpenGL axes) at `eye`, looking at `target`, with `up` upwards in the picture.

    A view along `up` itself, as straight down, has north (y) at the top of the picture.
    """
    position, forward = np.array(eye, dtype=np.float64), np.subtract(target, eye).astype(np.float64)
    length = np.linalg.norm(forward)
    if not length > 0:
        raise ValueError(f"a camera at {tuple(eye)} cannot look at the place where it stands")
    forward /= length
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9 * np.linalg.norm(up):
        right = np.cross(forward, _NORTH)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(right, forward), -forward, position), axis=1)

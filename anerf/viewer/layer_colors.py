"""What the viewer adds to the layers of a picture: experts' colours, normals of a view, more light."""

import numpy as np
import torch
from jaxtyping import Float

from anerf.geometry.cameras import Camera
from anerf.geometry.rays import rays_from_pixels
from anerf.products.page import N_EXPERT_COLORS, PALETTE
from anerf.render.color import linear_to_srgb, srgb_to_linear
from anerf.render.normals import surface_normals
from anerf.render.picture import pixel_centers
from anerf.render.view import SURFACE_OPACITY, Picture

NOTHING_RGB = (58, 58, 62)


def expert_rgb(expert: int) -> tuple[int, int, int]:
    """The colour of an expert; every eighth has the same."""
    return palette_rgb(f"e{expert % N_EXPERT_COLORS}")


def palette_rgb(name: str) -> tuple[int, int, int]:
    """A colour of the palette, as it is on dark ground."""
    red, green, blue = bytes.fromhex(PALETTE[name][1][1:])
    return red, green, blue


def view_normals(
    camera: Camera, c2w: Float[np.ndarray, "3 4"], picture: Picture
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals (ENU) of the surfaces in a view, towards the camera; 0 where there is none."""
    _, rays_d = rays_from_pixels(camera, torch.from_numpy(c2w), pixel_centers(camera).double())
    directions = rays_d.numpy().reshape(*picture.depth_m.shape, 3)
    points = c2w[:, 3] + directions * picture.depth_m[..., None]
    return surface_normals(points, directions, picture.opacity >= SURFACE_OPACITY)


def exposed_by(srgb: Float[np.ndarray, "*n 3"], stops: float) -> Float[np.ndarray, "*n 3"]:
    """A picture with its light doubled `stops` times."""
    if stops == 0:
        return srgb
    light = srgb_to_linear(torch.from_numpy(np.ascontiguousarray(srgb))) * 2.0**stops
    return linear_to_srgb(light).numpy()

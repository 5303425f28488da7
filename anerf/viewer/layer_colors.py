"""Layers that stand for something else than light: experts by their colours, surfaces by where they face."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8

from anerf.geometry.cameras import Camera, pixel_directions
from anerf.products.page import N_EXPERT_COLORS, PALETTE
from anerf.render.color import linear_to_srgb, srgb_to_linear
from anerf.render.picture import pixel_centers

NOTHING_RGB = (58, 58, 62)


def expert_rgb(expert: int) -> tuple[int, int, int]:
    """The colour of an expert; every eighth has the same."""
    return palette_rgb(f"e{expert % N_EXPERT_COLORS}")


def palette_rgb(name: str) -> tuple[int, int, int]:
    """A colour of the palette, as it is on dark ground."""
    red, green, blue = bytes.fromhex(PALETTE[name][1][1:])
    return red, green, blue


def expert_picture(
    expert: Int16[np.ndarray, "h w"], rgb: Float[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture's lightness in the colour of the expert that gave most; grey where none did."""
    colors = np.array([*(expert_rgb(i) for i in range(N_EXPERT_COLORS)), NOTHING_RGB], np.float32)
    chosen = colors[np.where(expert < 0, N_EXPERT_COLORS, expert % N_EXPERT_COLORS)]
    light = 0.35 + 0.65 * rgb.mean(axis=-1, keepdims=True)
    return np.rint(chosen * np.clip(light, 0, 1)).astype(np.uint8)


def normals_of_depth(
    camera: Camera, c2w: Float[np.ndarray, "3 4"], depth_m: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals (ENU) of the surfaces seen, towards the camera; 0 where there is none.

    They are those of the plane through the surface points of neighbouring pixels, so that a ridge between
    two surfaces is a pixel or two wide.
    """
    directions = pixel_directions(camera, pixel_centers(camera)).numpy().reshape(*depth_m.shape, 3)
    points = directions * depth_m[..., None] @ c2w[:, :3].T
    if min(depth_m.shape) < 2:
        return np.zeros_like(points)
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    towards = np.sign(-(normals * points).sum(-1, keepdims=True))
    return np.where(depth_m[..., None] > 0, normals * towards, 0.0)


def normals_picture(normals: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """East, north and up as red, green and blue, from -1 to 1; dark grey where nothing is."""
    picture = np.rint((normals + 1) * 127.5).astype(np.uint8)
    picture[~normals.any(axis=-1)] = NOTHING_RGB
    return picture


def exposed_by(srgb: Float[np.ndarray, "*n 3"], stops: float) -> Float[np.ndarray, "*n 3"]:
    """A picture with its light doubled `stops` times."""
    if stops == 0:
        return srgb
    light = srgb_to_linear(torch.from_numpy(np.ascontiguousarray(srgb))) * 2.0**stops
    return linear_to_srgb(light).numpy()


def experts_shown(expert: Int16[np.ndarray, "h w"]) -> Sequence[int]:
    """Which experts a picture shows, in the order of their numbers."""
    return [int(i) for i in np.unique(expert) if i >= 0]

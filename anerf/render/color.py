"""Between sRGB and linear light (IEC 61966-2-1), as torch tensors."""

import torch
from jaxtyping import Float
from torch import Tensor


def srgb_to_linear(c: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Decode sRGB values in [0, 1]."""
    return torch.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(c: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Encode linear values, clipped to [0, 1]."""
    c = c.clamp(0, 1)
    return torch.where(c <= 0.0031308, c * 12.92, 1.055 * c.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def to_srgb(c: Float[Tensor, "*n"], color_space: str) -> Float[Tensor, "*n"]:
    """Field output in its colour space to sRGB in [0, 1]."""
    return linear_to_srgb(c) if color_space == "linear" else c.clamp(0, 1)


def from_srgb(c: Float[Tensor, "*n"], color_space: str) -> Float[Tensor, "*n"]:
    """sRGB photographs to the colour space of the loss."""
    return srgb_to_linear(c) if color_space == "linear" else c

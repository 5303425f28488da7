"""Which experts answer for a point, and with what weight.

An expert answers for a point if its centroid is at most `margin` times as far away as the nearest one.
With margin 1 that is the nearest expert alone: the Voronoi diagram of the centroids.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def in_support(
    xyz: Float[Tensor, "n 3"], centroids: Float[Tensor, "e 3"], margin: float, dims: int
) -> Bool[Tensor, "n e"]:
    """Which experts answer for each point; at least one does.

    Distances are horizontal (x, y) for `dims` 2 and spatial for 3. With margin 1, the first of several
    nearest centroids answers alone.
    """
    return _support(squared_distances(xyz, centroids, dims), margin)


def routing_weights(
    xyz: Float[Tensor, "n 3"], centroids: Float[Tensor, "e 3"], margin: float, dims: int
) -> Float[Tensor, "n e"]:
    """Inverse-distance weights of the experts that answer for each point, 0 for the others; rows sum to 1."""
    squared = squared_distances(xyz, centroids, dims)
    support = _support(squared, margin)
    # A point on a centroid is that expert's; the floor keeps its infinite weight finite.
    inverse = squared.clamp(min=torch.finfo(squared.dtype).tiny).rsqrt() * support
    return inverse / inverse.sum(dim=-1, keepdim=True)


def nearest_centroid(
    xyz: Float[Tensor, "n 3"], centroids: Float[Tensor, "e 3"], dims: int
) -> Int64[Tensor, " n"]:
    """The expert whose Voronoi cell holds each point; of several nearest ones, the first."""
    return squared_distances(xyz, centroids, dims).argmin(dim=-1)


def centroid_distances(
    xyz: Float[Tensor, "n 3"], centroids: Float[Tensor, "e 3"], dims: int
) -> Float[Tensor, "n e"]:
    """How far each point is from each centroid, in the points' unit."""
    return squared_distances(xyz, centroids, dims).sqrt()


def squared_distances(
    xyz: Float[Tensor, "n d"], centroids: Float[Tensor, "e d"], dims: int
) -> Float[Tensor, "n e"]:
    """Of each point and each centroid, in the points' unit squared; ValueError unless `dims` is 2 or 3."""
    if dims not in (2, 3):
        raise ValueError(f"a partition has 2 or 3 dimensions, not {dims}")
    # One axis at a time: memory for points x experts, not for points x experts x axes.
    squared = (xyz[:, :1] - centroids[None, :, 0]) ** 2
    for axis in range(1, dims):
        squared = squared + (xyz[:, axis : axis + 1] - centroids[None, :, axis]) ** 2
    return squared


def _support(squared: Float[Tensor, "n e"], margin: float) -> Bool[Tensor, "n e"]:
    if margin < 1:
        raise ValueError(f"a routing margin is a ratio of distances of at least 1, not {margin}")
    if margin == 1:
        index = squared.argmin(dim=-1, keepdim=True)
        return torch.zeros_like(squared, dtype=torch.bool).scatter_(1, index, True)
    return squared <= squared.amin(dim=-1, keepdim=True) * margin**2

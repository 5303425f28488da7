"""Centroids whose Voronoi cells hold equal shares of weighted points.

Median splits (as in a k-d tree) give cells of equal content, but routing is by distance to centroids, and the
Voronoi cells of those cells' means are other cells. So from there the centroids move, as little as needed:
Newton's method on the cells' masses. With borders softened over a width `w`, point `x` belongs to centroid
`i` by the share `p_i = softmax(-|x - c_i|^2 / tau)`, and the masses `m_i = sum_x w_x p_i` have derivatives

    d m_i / d c_j = 2 / tau * sum_x w_x p_i (delta_ij - p_j) (x - c_j)

and of the many moves that even out the masses of the hard cells, the shortest is taken (least squares).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.partition.routing import squared_distances

MOST_IMBALANCE = 0.10
"""By how much the fullest of balanced cells may exceed the emptiest."""
_AIM = 0.04
_ROUNDS = 90
# Width of a soft border and longest move, in parts of the distance between neighbours.
_WIDTHS = (0.25, 0.12, 0.06)
_LONGEST_MOVE = 0.2
_DAMPING = 0.6
_SHARES_AT_ONCE = 1 << 21


def imbalance(mass: Float[np.ndarray, " k"]) -> float:
    """By how much the largest exceeds the smallest: 0 where all are equal, infinite where one is nothing."""
    return float(mass.max() / mass.min() - 1) if mass.min() > 0 else np.inf


def median_split(
    points: Float[np.ndarray, "m d"], weight: Float[np.ndarray, " m"], k: int
) -> list[np.ndarray]:
    """Numbers of the points in each of `k` boxes of about equal weight.

    Halved again and again across the longer side; an odd number of boxes is divided in proportion.
    """
    todo, done = [(np.arange(len(points)), k)], []
    while todo:
        chosen, n = todo.pop()
        if n == 1:
            done.append(chosen)
            continue
        axis = int(np.ptp(points[chosen], axis=0).argmax())
        order = chosen[np.argsort(points[chosen, axis], kind="stable")]
        total = np.cumsum(weight[order])
        low = n // 2
        cut = int(np.searchsorted(total, total[-1] * low / n)) + 1
        # Each side keeps at least a point for each of its boxes.
        cut = min(max(cut, low), len(order) - (n - low))
        todo += [(order[cut:], n - low), (order[:cut], low)]
    return done


def balanced_centroids(
    points: Float[np.ndarray, "m d"], weight: Float[np.ndarray, " m"], k: int
) -> Float[np.ndarray, "k d"]:
    """`k` centroids whose Voronoi cells differ as little in weight as was found; at least `k` points.

    Whether that is little enough is for the caller to judge, with `imbalance`.
    """
    parts = median_split(points, weight, k)
    start = np.stack([np.average(points[part], axis=0, weights=weight[part]) for part in parts])
    if k == 1:
        return start
    lo, extent = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    x = torch.from_numpy((points - lo) / extent)
    share = torch.from_numpy(weight / weight.sum())
    best = torch.from_numpy((start - lo) / extent)
    reached = np.inf
    for width in _WIDTHS:
        centroids = best
        for _ in range(_ROUNDS // len(_WIDTHS)):
            mass, slope, spacing = _masses(x, share, centroids, width)
            now = imbalance(mass.numpy())
            if now < reached:
                best, reached = centroids, now
            if reached < _AIM:
                return best.numpy() * extent + lo
            centroids = centroids + _move(mass, slope, spacing)
    return best.numpy() * extent + lo


def _masses(
    x: Float[Tensor, "m d"], share: Float[Tensor, " m"], centroids: Float[Tensor, "k d"], width: float
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k d"], float]:
    """Masses of the hard cells, derivatives of the soft ones, and the usual distance between neighbours."""
    k, dims = centroids.shape
    between = torch.cdist(centroids, centroids).fill_diagonal_(torch.inf).amin(dim=1)
    spacing = float(between.median())
    tau = 2 * width * spacing**2
    mass = x.new_zeros(k)
    own, cross, together = x.new_zeros(k, dims), x.new_zeros(k, k, dims), x.new_zeros(k, k)
    whole = x.new_zeros(k)
    at_once = max(1, _SHARES_AT_ONCE // k)
    for part, weight in zip(x.split(at_once), share.split(at_once), strict=True):
        squared = squared_distances(part, centroids, dims)
        mass.index_add_(0, squared.argmin(dim=1), weight)
        # Slopes need no more digits than float32 has.
        soft, place = torch.softmax((squared / -tau).float(), dim=1), part.float()
        weighted = (soft * weight.float()[:, None]).T
        whole += weighted.sum(dim=1)
        own += weighted @ place
        together += weighted @ soft
        for axis in range(dims):
            cross[..., axis] += weighted @ (soft * place[:, axis : axis + 1])
    slope = together[..., None] * centroids - cross
    slope[range(k), range(k)] += own - whole[:, None] * centroids
    return mass, slope * (2 / tau), spacing


def _move(mass: Float[Tensor, " k"], slope: Float[Tensor, "k k d"], spacing: float) -> Float[Tensor, "k d"]:
    """The shortest move that evens out the masses as far as their slopes tell; nobody goes far at once."""
    k, _, dims = slope.shape
    move = np.linalg.lstsq(slope.reshape(k, k * dims).numpy(), 1 / k - mass.numpy(), rcond=1e-4)[0]
    move = torch.from_numpy(move).view(k, dims)
    longest = float(move.norm(dim=1).max())
    return move * min(_DAMPING, _LONGEST_MOVE * spacing / max(longest, 1e-12))

"""k-means over weighted points: Lloyd's iteration from k-means++ seeds (Arthur and Vassilvitskii 2007)."""

import numpy as np
from jaxtyping import Float

_ROUNDS = 100
# Of the points' extent: less than this moves nobody's border.
_STILL = 1e-4


def kmeans_centroids(
    points: Float[np.ndarray, "m d"], weight: Float[np.ndarray, " m"], k: int, seed: int
) -> Float[np.ndarray, "k d"]:
    """`k` centroids, each the weighted mean of the points nearest to it; the same for the same seed.

    At least `k` of the points must be different ones, and weights positive.
    """
    rng = np.random.default_rng(seed)
    centroids = _seeds(points, weight, k, rng)
    still = _STILL * float(np.ptp(points, axis=0).max())
    for _ in range(_ROUNDS):
        owner, squared = _nearest(points, centroids)
        mass = np.bincount(owner, weight, k)
        means = np.stack([np.bincount(owner, weight * axis, k) for axis in points.T], axis=1)
        means /= np.where(mass > 0, mass, 1)[:, None]
        # Who lost all of its points starts again where the most is far from everybody.
        for lost in np.flatnonzero(mass == 0):
            means[lost] = points[(weight * squared).argmax()]
            squared = np.minimum(squared, ((points - means[lost]) ** 2).sum(axis=1))
        moved = np.abs(means - centroids).max()
        centroids = means
        if moved <= still:
            break
    return centroids


def _seeds(points: np.ndarray, weight: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Each next seed with a probability in proportion to weight and squared distance from those so far."""
    chosen = [rng.choice(len(points), p=weight / weight.sum())]
    squared = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k:
        share = weight * squared
        chosen.append(rng.choice(len(points), p=share / share.sum()))
        squared = np.minimum(squared, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen].copy()


def _nearest(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each point and its squared distance, one centroid at a time."""
    owner = np.zeros(len(points), np.int64)
    least = np.full(len(points), np.inf)
    for number, centroid in enumerate(centroids):
        squared = ((points - centroid) ** 2).sum(axis=1)
        closer = squared < least
        owner[closer], least[closer] = number, squared[closer]
    return owner, least

"""Where experts' regions meet, seen from above: the box's polygon cut along the lines between centroids."""

import numpy as np
from jaxtyping import Float

from anerf.geometry.boxes import Aabb


def region_outlines(
    centroids_xy: Float[np.ndarray, "e 2"], box: Aabb
) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """For each centroid, the corners (ENU metres, counter-clockwise) of what is nearest to it in the box.

    An outline is empty where another centroid is nearer to all of the box. Centroids above each other share
    one outline.
    """
    (west, south, _), (east, north, _) = box.lo, box.hi
    whole = np.array([[west, south], [east, south], [east, north], [west, north]])
    outlines = []
    for i, own in enumerate(centroids_xy):
        outline = whole
        for j, other in enumerate(centroids_xy):
            if i != j and len(outline) and not np.allclose(own, other):
                outline = _cut(outline, other - own, float((other @ other - own @ own) / 2))
        outlines.append(outline)
    return tuple(outlines)


def _cut(corners: Float[np.ndarray, "k 2"], normal: Float[np.ndarray, "2"], limit: float) -> np.ndarray:
    """What of a convex polygon has `xy @ normal <= limit` (Sutherland and Hodgman)."""
    over = corners @ normal - limit
    kept: list[np.ndarray] = []
    for i in range(len(corners)):
        k = (i + 1) % len(corners)
        if over[i] <= 0:
            kept.append(corners[i])
        if (over[i] < 0 < over[k]) or (over[k] < 0 < over[i]):
            kept.append(corners[i] + (corners[k] - corners[i]) * (over[i] / (over[i] - over[k])))
    return np.array(kept) if len(kept) >= 3 else np.empty((0, 2))

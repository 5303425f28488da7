"""Which way surfaces face, from where rays meet them."""

import numpy as np
from jaxtyping import Bool, Float


def surface_normals(
    points: Float[np.ndarray, "h w 3"], directions: Float[np.ndarray, "h w 3"], seen: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals, towards the viewer, of the surface through each pixel's point; 0 where none is seen.

    The tangents are differences to a neighbouring pixel: along each axis to the nearer one of both, so that a
    normal at an edge belongs to the surface of its own pixel.
    """
    across, down = _tangent(points, seen, 1), _tangent(points, seen, 0)
    normals = np.cross(down, across)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    away = (normals * directions).sum(-1, keepdims=True) > 0
    return np.where(away, -normals, normals)


def _tangent(points: np.ndarray, seen: np.ndarray, axis: int) -> Float[np.ndarray, "h w 3"]:
    """The shorter of the differences to the next and from the last pixel along an axis; 0 without any."""
    step = np.diff(points, axis=axis)
    lower, upper = [slice(None)] * 2, [slice(None)] * 2
    lower[axis], upper[axis] = slice(None, -1), slice(1, None)
    both = seen[tuple(lower)] & seen[tuple(upper)]
    length = np.where(both, np.linalg.norm(step, axis=-1), np.inf)
    ahead, behind = np.full(seen.shape, np.inf), np.full(seen.shape, np.inf)
    ahead[tuple(lower)], behind[tuple(upper)] = length, length
    to_next, from_last = np.zeros_like(points), np.zeros_like(points)
    to_next[tuple(lower)], from_last[tuple(upper)] = step, step
    tangent = np.where((ahead <= behind)[..., None], to_next, from_last)
    return np.where(np.isfinite(np.minimum(ahead, behind))[..., None], tangent, 0)

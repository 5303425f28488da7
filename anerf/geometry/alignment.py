"""Similarity transforms between two sets of corresponding points, in spite of wrong correspondences.

Least squares: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
PAMI 1991. The robust start is the least median of squares over triples (Rousseeuw, JASA 1984), the refinement
iteratively reweighted least squares with Cauchy weights.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError

_TRIALS = 600
_ROUNDS = 40
# 95 % efficiency for normal errors.
_CAUCHY = 2.385
# Points whose second spread is less than this share of the first lie on a line: they may turn about it.
_LINE = 0.02


@dataclass(frozen=True, eq=False)
class Similarity:
    """`target = scale * rotation @ source + translation`."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def points(self, xyz: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points carried over."""
        return self.scale * (np.asarray(xyz, dtype=np.float64) @ self.rotation.T) + self.translation

    def poses(self, c2w: Float[np.ndarray, "*n 3 4"]) -> Float[np.ndarray, "*n 3 4"]:
        """Camera-to-world poses carried over: places are scaled, rotations only turned."""
        turned = self.rotation @ np.asarray(c2w, dtype=np.float64)
        turned[..., 3] = self.points(c2w[..., 3])
        return turned

    @property
    def angle_deg(self) -> float:
        """How far the rotation turns."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1.0, 1.0))))


def similarity(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Similarity:
    """The similarity with the least weighted squares (Umeyama's equations 38 to 42).

    InputError if fewer than three points correspond or all lie on one line.
    """
    weights = np.ones(len(source)) if weights is None else weights
    _check(source)
    scale, rotation, translation = (part[0] for part in _fit(source[None], target[None], weights[None]))
    return Similarity(float(scale), rotation, translation)


def robust_similarity(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], seed: int = 0
) -> Similarity:
    """The similarity that most points agree on, up to half of them wrong; the same for the same seed.

    InputError as `similarity`.
    """
    _check(source)
    n = len(source)
    if n < 5:
        return similarity(source, target)
    rng = np.random.default_rng(seed)
    triples = np.argsort(rng.random((_TRIALS, n)), axis=1)[:, :3]
    scale, rotation, translation = _fit(source[triples], target[triples], np.ones((_TRIALS, 3)))
    carried = scale[:, None, None] * np.einsum("tij,nj->tni", rotation, source) + translation[:, None]
    squared = np.median(((carried - target) ** 2).sum(axis=2), axis=1)
    best = int(np.nanargmin(squared))
    found = Similarity(float(scale[best]), rotation[best], translation[best])
    # Rousseeuw's estimate of the noise from the least median; it falls as the fit improves.
    for _ in range(_ROUNDS):
        off = np.linalg.norm(found.points(source) - target, axis=1)
        noise = 1.4826 * (1 + 5 / (n - 3)) * np.median(off)
        # The floor: a millionth of the extent, where points agree to rounding.
        noise = max(noise, 1e-6 * float(np.ptp(target, axis=0).max()), 1e-12)
        found = similarity(source, target, cauchy_weights(off, noise))
    return found


def cauchy_weights(off: Float[np.ndarray, " n"], noise: float) -> Float[np.ndarray, " n"]:
    """How much residuals count whose good ones are as large as `noise` (one standard deviation)."""
    return 1 / (1 + (off / (_CAUCHY * noise)) ** 2)


def _check(source: Float[np.ndarray, "n 3"]) -> None:
    if len(source) < 3:
        raise InputError(
            f"{len(source)} places cannot be aligned, three are needed; give GPS positions for more "
            "photographs"
        )
    spread = np.linalg.svd(source - source.mean(axis=0), compute_uv=False)
    if spread[1] < _LINE * spread[0] or not spread[0] > 0:
        raise InputError(
            f"{len(source)} places on one line cannot be aligned: how the scene is turned about the line "
            "stays open; add photographs beside it"
        )


def _fit(
    source: Float[np.ndarray, "t n 3"], target: Float[np.ndarray, "t n 3"], weights: Float[np.ndarray, "t n"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 3 3"], Float[np.ndarray, "t 3"]]:
    """Umeyama's solution for `t` sets at once."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    mean_source = np.einsum("tn,tni->ti", weights, source)
    mean_target = np.einsum("tn,tni->ti", weights, target)
    from_mean, to_mean = source - mean_source[:, None], target - mean_target[:, None]
    covariance = np.einsum("tn,tni,tnj->tij", weights, to_mean, from_mean)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.ones_like(d)
    sign[:, 2] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1.0, 1.0)
    rotation = np.einsum("tij,tj,tjk->tik", u, sign, vt)
    variance = np.einsum("tn,tni->t", weights, from_mean**2)
    scale = (d * sign).sum(axis=1) / np.maximum(variance, 1e-300)
    return scale, rotation, mean_target - scale[:, None] * np.einsum("tij,tj->ti", rotation, mean_source)

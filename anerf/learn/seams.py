"""Seams: whether pictures jump where one expert's region ends and another's begins."""

import math

import numpy as np
from jaxtyping import Float, Int

from anerf.errors import InputError

PATCH_PX = 5  # noise of single pixels averages out, and the strip in which experts blend is narrower


def seam_excess_db(
    rgb: Float[np.ndarray, "v h w 3"],
    truth: Float[np.ndarray, "v h w 3"],
    expert: Int[np.ndarray, "v h w"],
    patch_px: int = PATCH_PX,
) -> float:
    """How much more pictures jump across region boundaries than elsewhere, beyond what the truth does, in dB.

    A jump is the difference between the mean errors (rendered - true) of two square patches side by side, or
    one above the other. Mean squared jumps between patches of two experts are compared with those between
    patches of one: about 0 dB or less without seams. What both sides get wrong alike is no seam.

    Args:
        rgb: rendered views of one size, on any colour scale that `truth` shares.
        truth: the same views as they should be.
        expert: who gave each pixel most, -1 where nobody did; a patch is its middle pixel's.
        patch_px: side of a patch, odd.

    Raises:
        InputError: no two patches lie across a boundary, or none within a region.
    """
    error = _patch_means(rgb.astype(np.float64) - truth.astype(np.float64), patch_px)
    rim = patch_px // 2
    owner = expert[:, rim : rim + error.shape[1], rim : rim + error.shape[2]]
    across, within = [], []
    for axis in (1, 2):
        n = error.shape[axis]
        one, other = np.arange(n - patch_px), np.arange(patch_px, n)
        squared = ((error.take(other, axis) - error.take(one, axis)) ** 2).mean(axis=-1)
        first, second = owner.take(one, axis), owner.take(other, axis)
        known = (first >= 0) & (second >= 0)
        across.append(squared[known & (first != second)])
        within.append(squared[known & (first == second)])
    jumps, usual = np.concatenate(across), np.concatenate(within)
    if not len(jumps) or not len(usual):
        raise InputError(
            f"{len(jumps)} pairs of patches lie across a region boundary and {len(usual)} within a region:"
            " seams need both, so take views that look at a boundary"
        )
    least = np.finfo(np.float64).tiny
    return 10 * math.log10(max(float(jumps.mean()), least) / max(float(usual.mean()), least))


def _patch_means(values: Float[np.ndarray, "v h w c"], side: int) -> Float[np.ndarray, "v hh ww c"]:
    """Means over all squares of that side, by summed areas."""
    total = np.pad(values, ((0, 0), (1, 0), (1, 0), (0, 0))).cumsum(axis=1).cumsum(axis=2)
    right = total[:, :, side:] - total[:, :, :-side]
    return (right[:, side:] - right[:, :-side]) / side**2

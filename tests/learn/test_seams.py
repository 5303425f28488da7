"""The seam measure on pictures whose errors are known."""

import math

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.learn.seams import seam_excess_db

HALVES = np.repeat([0, 1], 20)[None, None].repeat(40, axis=1).repeat(2, axis=0)
"""Two views of 40 x 40 pixels: expert 0 on the left, 1 on the right."""


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (2, 40, 40, 3))


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_an_offset_between_experts_counts_as_a_worked_number_says(offset):
    """Of noise, means of 5 x 5 pixels keep a 25th of the variance, and their differences twice that.

    Pairs of patches across the boundary see 0.6, 0.8, 1, 0.8 and 0.6 of the offset; of the 57 pairs within a
    region that each row has, four see 0.4, 0.2, 0.2 and 0.4 of it.
    """
    truth = np.random.default_rng(1).uniform(0, 1, (2, 40, 40, 3))
    rgb = truth + noise() + offset * HALVES[..., None]
    usual = 2 * 0.05**2 / 25
    expected = 10 * math.log10((usual + 0.6 * offset**2) / (usual + 0.4 / 57 * offset**2))
    assert seam_excess_db(rgb, truth, HALVES) == pytest.approx(expected, abs=1.0)


def test_what_all_experts_get_wrong_alike_is_no_seam():
    truth = np.zeros((2, 40, 40, 3))
    plain = seam_excess_db(truth + noise(), truth, HALVES)
    assert seam_excess_db(truth + noise() + 0.3, truth, HALVES) == pytest.approx(plain)
    # An edge of the scene that happens to lie on the boundary is in the truth as well.
    edge = truth + 0.5 * HALVES[..., None]
    assert seam_excess_db(edge + noise(), edge, HALVES) == pytest.approx(plain)


def test_single_patches_are_pixels_and_nobodys_pixels_are_left_out():
    """One row: errors 0 0 | 1 1, then nobody's; across 1, within 0 and 0."""
    rgb = np.array([0.0, 0.0, 1.0, 1.0, 9.0])[None, None, :, None].repeat(3, axis=3)
    expert = np.array([[[0, 0, 1, 1, -1]]])
    assert seam_excess_db(rgb, np.zeros_like(rgb), expert, patch_px=1) > 1000
    rgb[0, 0, 1] = 0.5  # within: 0.25 and 0, across: 0.25
    assert seam_excess_db(rgb, np.zeros_like(rgb), expert, patch_px=1) == pytest.approx(10 * math.log10(2))


@pytest.mark.parametrize("expert", [np.zeros((1, 8, 8), int), np.full((1, 8, 8), -1)])
def test_views_without_a_boundary_are_refused(expert):
    with pytest.raises(InputError, match="0 pairs of patches lie across a region boundary"):
        seam_excess_db(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3)), expert, patch_px=1)

"""PSNR and SSIM against worked numbers and a direct computation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from anerf.learn.metrics import psnr, ssim


def _noise(seed: int, height: int = 24, width: int = 31) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("difference", "expected_db"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0), (0.5, 6.0206)]
)
def test_psnr_of_a_constant_difference(difference: float, expected_db: float) -> None:
    a = np.zeros((5, 7, 3), np.float64)
    assert psnr(a, a + difference) == pytest.approx(expected_db, abs=1e-4)


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert psnr(_noise(0), _noise(0)) == math.inf


def test_psnr_looks_only_where_the_mask_is_true() -> None:
    a = np.zeros((4, 4, 3))
    b = a.copy()
    b[:2] = 0.1
    b[2:] = 1.0
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    assert psnr(a, b, mask) == pytest.approx(20)
    assert psnr(a, b, ~mask) == pytest.approx(0)


def test_ssim_of_two_greys_is_the_luminance_term() -> None:
    a, b = np.full((12, 12, 3), 0.5), np.full((12, 12, 3), 0.25)
    # Nothing varies, so the structure term is C2 / C2; (2 * .5 * .25 + 1e-4) / (.25 + .0625 + 1e-4).
    assert ssim(a, b) == pytest.approx(0.2501 / 0.3126, abs=1e-9)


def test_ssim_of_a_negative_is_the_structure_term_turned_round() -> None:
    a = _noise(1, 11, 11).astype(np.float64)
    a = a - 0.5
    offsets = np.arange(11) - 5
    w = np.exp(-(offsets**2) / 4.5)
    w2 = np.outer(w / w.sum(), w / w.sum())[..., None]
    a = (a - (a * w2).sum((0, 1))) * 0.5
    variance = (a**2 * w2).sum((0, 1))
    # Both windows have mean 1/2, so luminance is 1, and covariance is minus the variance.
    expected = ((-2 * variance + 0.0009) / (2 * variance + 0.0009)).mean()
    assert ssim(a + 0.5, 0.5 - a) == pytest.approx(expected, abs=1e-12)


def test_ssim_agrees_with_a_direct_computation_window_by_window() -> None:
    a, b = _noise(2).astype(np.float64), (0.6 * _noise(2) + 0.4 * _noise(3)).astype(np.float64)
    offsets = np.arange(11) - 5
    w = np.exp(-(offsets**2) / 4.5)
    w /= w.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, w, axis=0), w, axis=1)[5:-5, 5:-5]

    mx, my = blur(a), blur(b)
    vx, vy, cov = blur(a * a) - mx**2, blur(b * b) - my**2, blur(a * b) - mx * my
    per_pixel = ((2 * mx * my + 1e-4) * (2 * cov + 9e-4)) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(a, b) == pytest.approx(per_pixel.mean(), abs=1e-12)
    mask = np.zeros(a.shape[:2], bool)
    mask[7, 9] = mask[10:12, 20] = True
    mask[0, 0] = True  # no window has its centre on the rim
    expected = per_pixel[[2, 5, 6], [4, 15, 15]].mean()
    assert ssim(a, b, mask) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_both_are_symmetric_and_ssim_is_at_most_one(seed_a: int, seed_b: int) -> None:
    a, b = _noise(seed_a, 13, 12), _noise(seed_b, 13, 12)
    assert psnr(a, b) == psnr(b, a)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert ssim(a, b) <= 1 + 1e-9
    assert ssim(a, a) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(
    ("b", "words"),
    [
        (np.zeros((24, 30, 3), np.float32), "must both be"),
        (np.zeros((24, 31), np.float32), "must both be"),
        (np.full((24, 31, 3), 255, np.uint8), "second picture must be floats"),
        (np.full((24, 31, 3), 255.0), r"in \[255, 255\]"),
        (np.full((24, 31, 3), np.nan), "second picture must be floats"),
    ],
)
def test_pictures_that_cannot_be_compared_are_refused(measure, b: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(_noise(0), b)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_masks_that_do_not_fit_are_refused(measure) -> None:
    a = _noise(0)
    with pytest.raises(ValueError, match="leaves no pixel"):
        measure(a, a, np.zeros((24, 31), bool))
    with pytest.raises(ValueError, match="mask must be bool"):
        measure(a, a, np.ones((31, 24), bool))
    with pytest.raises(ValueError, match="mask must be bool"):
        measure(a, a, np.ones((24, 31), np.uint8))


def test_ssim_needs_one_whole_window() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, not 31 x 10"):
        ssim(_noise(0, 10), _noise(0, 10))

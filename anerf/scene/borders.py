"""Black borders of photographs that came undistorted: found in the pictures, to keep them out of learning.

Removing a lens's distortion (COLMAP, Metashape, ODM) leaves pixels without light along the picture's rim, the
same ones in all pictures of a camera. A pixel belongs to the border if it is nearly black in every picture
looked at and connected to the rim through such pixels.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from anerf.errors import InputError
from anerf.scene.photographs import UNREADABLE

LEAST_PICTURES = 3
MOST_PICTURES = 24
# JPEG lets bright pixels ring into the black beside them.
NEARLY_BLACK = 24
LEAST_PIXELS = 32
MOST_SHARE = 0.25  # of the picture; more is a night flight, not a border


def border_of(pictures: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Bool[np.ndarray, "h w"] | None:
    """The border that pictures of one camera share, widened by a pixel; None where there is none.

    There is none either with fewer than `LEAST_PICTURES` pictures, or where it had less than `LEAST_PIXELS`
    pixels or more than `MOST_SHARE` of the picture. One picture is held at a time.
    """
    brightest, count = None, 0
    for picture in pictures:
        light, count = picture.max(axis=2), count + 1
        brightest = light if brightest is None else np.maximum(brightest, light)
    if brightest is None or count < LEAST_PICTURES:
        return None
    border = _reached_from_rim(brightest <= NEARLY_BLACK)
    n_pixels = int(border.sum())
    return _widened(border) if LEAST_PIXELS <= n_pixels <= MOST_SHARE * border.size else None


def border_of_photographs(files: Sequence[Path]) -> Bool[np.ndarray, "h w"] | None:
    """`border_of` up to `MOST_PICTURES` of a camera's photographs, evenly spread; all must be of one size."""
    if len(files) < LEAST_PICTURES:
        return None
    chosen = np.unique(np.linspace(0, len(files) - 1, MOST_PICTURES).round().astype(int))
    return border_of(_pixels(files[i]) for i in chosen)


def _pixels(file: Path) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except UNREADABLE as error:
        raise InputError(
            f"photograph {file} cannot be decoded ({error}); copy it from the camera again or remove it"
        ) from None


def _reached_from_rim(dark: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Which dark pixels are connected to the rim through dark ones, sideways or up and down."""
    reached = np.zeros_like(dark)
    reached[[0, -1]], reached[:, [0, -1]] = dark[[0, -1]], dark[:, [0, -1]]
    before = -1
    # Whole runs at a time: as many rounds as the way has bends.
    while (now := int(reached.sum())) != before:
        before = now
        reached = _along_rows(reached, dark)
        reached = _along_rows(reached.T, dark.T).T
    return reached


def _along_rows(reached: Bool[np.ndarray, "h w"], dark: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """All runs of dark pixels in a row of which one is reached."""
    starts = dark.copy()
    starts[:, 1:] &= ~dark[:, :-1]
    run = np.cumsum(starts, dtype=np.int32).reshape(dark.shape)
    is_reached = np.zeros(int(run[-1, -1]) + 1, dtype=bool)
    is_reached[run[reached]] = True
    return dark & is_reached[run]


def _widened(border: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """With all eight neighbours."""
    wide = np.pad(border, 1)
    wide = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return wide[:-2] | wide[1:-1] | wide[2:]

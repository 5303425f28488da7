"""PSNR and SSIM between two pictures, in the colour space in which they are given (sRGB by default), and
errors of depth.

Pictures are float arrays (height, width, 3) with values in [0, 1]. A mask, boolean (height, width), says
where to look: True counts.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_WINDOW = 11
_SIGMA_PX = 1.5
_C1, _C2 = 0.01**2, 0.03**2

Image = Float[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]


def psnr(a: Image, b: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal pictures.

    Raises:
        ValueError: different or wrong shapes, values outside [0, 1], or a mask that leaves nothing.
    """
    check_pictures(a, b)
    squared = (a.astype(np.float64) - b.astype(np.float64)) ** 2
    mse = float((squared if mask is None else squared[_checked(mask, a)]).mean())
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(a: Image, b: Image, mask: Mask | None = None) -> float:
    """Structural similarity in [-1, 1]: 11 x 11 Gaussian windows (sigma 1.5 px) that lie inside the picture.

    The mean over windows and channels; with a mask, over the windows whose centre it holds.

    Raises:
        ValueError: as `psnr`, or a picture smaller than one window.
    """
    check_pictures(a, b)
    if min(a.shape[:2]) < _WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {_WINDOW} x {_WINDOW} pixels, not {a.shape[1]} x {a.shape[0]}"
        )
    x, y = (torch.from_numpy(np.ascontiguousarray(p)).double().permute(2, 0, 1)[:, None] for p in (a, b))
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x * mean_x
    var_y = _blur(y * y) - mean_y * mean_y
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    structure = (2 * cov + _C2) / (var_x + var_y + _C2)
    per_window = (luminance * structure)[:, 0].mean(0).numpy()
    if mask is None:
        return float(per_window.mean())
    rim = _WINDOW // 2
    return float(per_window[_checked(mask, a, rim)].mean())


def depth_errors_m(
    depth_m: Float[np.ndarray, "height width"], truth_m: Float[np.ndarray, "height width"], mask: Mask
) -> Float[np.ndarray, " n"]:
    """Distances of depths from the truth, in metres, at each pixel of `mask` whose truth is finite.

    Raises:
        ValueError: different shapes.
    """
    if not depth_m.shape == truth_m.shape == mask.shape:
        raise ValueError(
            f"depth, truth and mask must have one shape, not {depth_m.shape}, {truth_m.shape}, {mask.shape}"
        )
    known = mask & np.isfinite(truth_m)
    return np.abs(depth_m[known].astype(np.float64) - truth_m[known])


def check_pictures(a: Image, b: Image) -> None:
    """Refuse pictures that cannot be compared, such as uint8 ones or one in [0, 255].

    Raises:
        ValueError: saying which picture, and what is wrong with it.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"pictures must both be (height, width, 3), not {a.shape} and {b.shape}")
    for name, picture in (("first", a), ("second", b)):
        # Written so that NaN fails too.
        if not (picture.dtype.kind == "f" and picture.min() >= -1e-6 and picture.max() <= 1 + 1e-6):
            raise ValueError(
                f"the {name} picture must be floats in [0, 1], not {picture.dtype} in "
                f"[{picture.min():g}, {picture.max():g}]; divide uint8 pictures by 255 and clip renders"
            )


def _checked(mask: Mask, picture: Image, rim: int = 0) -> Mask:
    if mask.shape != picture.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"the mask must be bool {picture.shape[:2]}, not {mask.dtype} {mask.shape}")
    inner = mask[rim : mask.shape[0] - rim, rim : mask.shape[1] - rim]
    if not inner.any():
        raise ValueError(f"the mask of {picture.shape[1]} x {picture.shape[0]} leaves no pixel to compare")
    return inner


def _blur(x: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n 1 valid_height valid_width"]:
    offsets = torch.arange(_WINDOW, dtype=x.dtype) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(x, weights[None, None, :, None]), weights[None, None, None, :])

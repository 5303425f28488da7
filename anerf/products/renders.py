"""A job's pictures as files: photographs, what was rendered of them after `tto` steps, and depths.

`<folder>/gt/<view>.png`, `pred_tto<N>/<view>.png` and `depth_tto<N>/<view>.npy` (metres along the ray,
float32), where `<view>` is the photograph's path below the scene's `images/`, without its ending.
"""

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32
from PIL import Image

from anerf.learn.evaluate import ScoredView
from anerf.products.colormap import to_uint8
from anerf.products.sheet import save_picture


def save_view(folder: Path, view: ScoredView) -> None:
    """Write the photograph, the render and its depth."""
    name, tto = view.score.view, view.score.tto
    save_picture(_photograph(folder, name), to_uint8(view.truth))
    save_picture(_render(folder, name, tto), to_uint8(view.picture.rgb))
    depth = _depth(folder, name, tto)
    depth.parent.mkdir(parents=True, exist_ok=True)
    np.save(depth, view.picture.depth_m.astype(np.float32), allow_pickle=False)


def read_photograph(folder: Path, view: str) -> Float32[np.ndarray, "h w 3"]:
    """The photograph of a view at the size of its renders, sRGB in [0, 1]."""
    return _picture(_photograph(folder, view))


def read_render(
    folder: Path, view: str, tto: int
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """A view as rendered after `tto` steps: sRGB in [0, 1], and depth in metres (0: nothing there)."""
    return _picture(_render(folder, view, tto)), np.load(_depth(folder, view, tto), allow_pickle=False)


def _photograph(folder: Path, view: str) -> Path:
    return folder / "gt" / PurePosixPath(view).with_suffix(".png")


def _render(folder: Path, view: str, tto: int) -> Path:
    return folder / f"pred_tto{tto}" / PurePosixPath(view).with_suffix(".png")


def _depth(folder: Path, view: str, tto: int) -> Path:
    return folder / f"depth_tto{tto}" / PurePosixPath(view).with_suffix(".npy")


def _picture(path: Path) -> Float32[np.ndarray, "h w 3"]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255

"""How well cameras and sparse points agree: the check that a frame conversion moved nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float

from anerf.geometry.cameras import Camera, project
from anerf.scene.colmap import ColmapImage


def reprojection_error_px(
    views: Mapping[str, tuple[Camera, Float[np.ndarray, "3 4"]]],
    points_xyz: Float[np.ndarray, "p 3"],
    images: Sequence[ColmapImage],
) -> float:
    """Mean over the points of each point's mean distance, in pixels, from where it was observed.

    `views` gives camera and pose (OpenGL axes, in the points' frame) by photograph name; `images` give the
    observations. Observations in photographs without a view are left out; nan where none is left.
    """
    total, count = np.zeros(len(points_xyz)), np.zeros(len(points_xyz))
    for image in images:
        seen = image.observed_point >= 0
        if image.name not in views or not seen.any():
            continue
        camera, c2w = views[image.name]
        point = image.observed_point[seen]
        in_camera = (points_xyz[point] - c2w[:, 3]) @ c2w[:, :3]
        xy, _ = project(camera, torch.from_numpy(in_camera))
        np.add.at(total, point, np.linalg.norm(xy.numpy() - image.observed_xy[seen], axis=1))
        np.add.at(count, point, 1)
    seen = count > 0
    return float((total[seen] / count[seen]).mean()) if seen.any() else float("nan")

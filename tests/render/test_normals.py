"""Normals of surfaces whose normals are known."""

import numpy as np
import pytest

from anerf.render.normals import surface_normals

H, W = 12, 16


def looking_down(height_of) -> tuple[np.ndarray, np.ndarray]:
    """Points and directions of parallel rays straight down on z = height_of(x, y), a metre apart."""
    y, x = np.mgrid[0:H, 0:W].astype(float)
    y = H - 1 - y
    points = np.stack([x, y, height_of(x, y)], axis=-1)
    return points, np.broadcast_to([0.0, 0.0, -1.0], points.shape)


@pytest.mark.parametrize(("slope_x", "slope_y"), [(0.0, 0.0), (0.5, 0.0), (0.0, -1.0), (0.3, 0.4)])
def test_planes(slope_x: float, slope_y: float) -> None:
    points, directions = looking_down(lambda x, y: slope_x * x + slope_y * y)
    normals = surface_normals(points, directions, np.ones((H, W), bool))
    expected = np.array([-slope_x, -slope_y, 1.0])
    assert np.allclose(normals, expected / np.linalg.norm(expected))


def test_both_sides_of_a_step_face_up() -> None:
    points, directions = looking_down(lambda x, y: np.where(x < 8, 0.0, 20.0))
    normals = surface_normals(points, directions, np.ones((H, W), bool))
    assert np.allclose(normals, [0, 0, 1])


def test_where_nothing_is_seen_there_is_no_normal() -> None:
    points, directions = looking_down(lambda x, y: 0 * x)
    seen = np.ones((H, W), bool)
    seen[:, 5] = False
    normals = surface_normals(points, directions, seen)
    assert not normals[:, 5].any()
    assert np.allclose(normals[:, 4], [0, 0, 1])

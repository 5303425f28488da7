"""Rays and poses by hand."""

import numpy as np
import pytest
import torch

from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at, rays_from_pixels

CAMERA = Camera("PINHOLE", 4, 4, (2.0, 2.0, 2.0, 2.0))


def test_looking_north_has_east_right_and_up_up():
    pose = look_at((1.0, 2.0, 3.0), (1.0, 9.0, 3.0))
    assert pose.tolist() == [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3]]


def test_straight_down_has_north_on_top():
    pose = look_at((0.0, 0.0, 100.0), (0.0, 0.0, 0.0))
    assert pose.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 100]]


def test_poses_are_rotations():
    for eye in np.random.default_rng(1).normal(size=(20, 3)):
        rotation = look_at(eye, -eye)[:, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_no_direction_is_refused():
    with pytest.raises(ValueError, match="cannot look at the place"):
        look_at((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def test_rays_of_one_pose_and_of_many():
    down = torch.from_numpy(look_at((5.0, 6.0, 100.0), (5.0, 6.0, 0.0)))
    xy = torch.tensor([[2.0, 2.0], [4.0, 2.0]], dtype=torch.float64)
    rays_o, rays_d = rays_from_pixels(CAMERA, down, xy)
    assert rays_o.tolist() == [[5, 6, 100], [5, 6, 100]]
    np.testing.assert_allclose(rays_d, [[0, 0, -1], [0.5**0.5, 0, -(0.5**0.5)]], atol=1e-12)
    north = torch.from_numpy(look_at((0.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    each_o, each_d = rays_from_pixels(CAMERA, torch.stack((down, north)), xy)
    np.testing.assert_allclose(each_o, [[5, 6, 100], [0, 0, 0]])
    np.testing.assert_allclose(each_d, [[0, 0, -1], [0.5**0.5, 0.5**0.5, 0]], atol=1e-12)

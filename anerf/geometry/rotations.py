"""Rotations as matrices, unit quaternions (w, x, y, z) and rotation vectors (axis times angle in radians)."""

import numpy as np
from jaxtyping import Float


def rotation_of(wxyz: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix of a quaternion of any length but 0."""
    w, x, y, z = np.asarray(wxyz, np.float64) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """The unit quaternion (w >= 0) of a rotation matrix."""
    xx, yy, zz = np.diag(rotation)
    # Squares of 2w, 2x, 2y, 2z; the largest is the safe one to divide by.
    squares = np.array([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz])
    r = rotation
    rows = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], squares[2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[3]],
        ]
    )
    wxyz = rows[int(squares.argmax())]
    wxyz = wxyz / np.linalg.norm(wxyz)
    return -wxyz if wxyz[0] < 0 else wxyz


def rotation_vector(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """The shortest rotation vector of a rotation matrix: its length is at most pi."""
    w, *axis = quaternion_of(rotation)
    sine = float(np.linalg.norm(axis))
    # For small angles, angle / sine(angle / 2) is 2.
    return np.array(axis) * (2 * np.arctan2(sine, w) / sine if sine > 1e-12 else 2.0)


def rotation_by(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix of a rotation vector of any length."""
    half = np.asarray(vector, np.float64) / 2
    # numpy's sinc is sin(pi x) / (pi x).
    return rotation_of(
        np.array([np.cos(np.linalg.norm(half)), *half * np.sinc(np.linalg.norm(half) / np.pi)])
    )


def is_rotation(matrix: Float[np.ndarray, "3 3"]) -> bool:
    """Whether columns are unit, orthogonal and right-handed, as far as numbers with four digits can be."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_orthogonal = np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-3)
        return bool(is_orthogonal and np.linalg.det(matrix) > 0)

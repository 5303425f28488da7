"""Sparse points as structure from motion would have found them, made from the true depths."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from anerf.geometry.cameras import Camera, pixel_directions, project
from anerf.geometry.geodesy import GeodeticReference, enu_to_ecef
from anerf.scene.colmap import ColmapImage, ColmapModel
from anerf.scene.made.flights import Station
from anerf.scene.made.picture import Shot

NOISE_PX = 0.3
MIN_VIEWS = 3
_BORDER_PX = 2.0
_SAME_SURFACE_M = 0.3


@dataclass(frozen=True, eq=False)
class _Points:
    xyz: Float[np.ndarray, "p 3"]
    rgb: np.ndarray


def sparse_model(
    seed: int,
    camera: Camera,
    stations: Sequence[Station],
    shots: Sequence[Shot],
    n_points: int,
    reference: GeodeticReference,
) -> ColmapModel:
    """The COLMAP model of a flight in ECEF: exact poses, up to `n_points` points seen in `MIN_VIEWS` views.

    Observed positions are off by normal noise of `NOISE_PX`; a point's error is the mean of what that gives.
    """
    rng = np.random.default_rng([seed, 5, len(stations)])
    points = _candidates(rng, camera, stations, shots, 3 * n_points)
    views = [
        _observe(camera, station, shot, points.xyz) for station, shot in zip(stations, shots, strict=True)
    ]
    counts = np.bincount(np.concatenate([index for index, _ in views]), minlength=len(points.xyz))
    tracked = np.flatnonzero(counts >= MIN_VIEWS)
    chosen = np.sort(rng.permutation(tracked)[:n_points])
    row_of = np.full(len(points.xyz), -1)
    row_of[chosen] = np.arange(len(chosen))

    images, error_sum, error_n = [], np.zeros(len(chosen)), np.zeros(len(chosen))
    for station, (index, xy) in zip(stations, views, strict=True):
        kept = row_of[index] >= 0
        rows, noise = row_of[index[kept]], rng.normal(0.0, NOISE_PX, (int(kept.sum()), 2))
        np.add.at(error_sum, rows, np.linalg.norm(noise, axis=1))
        np.add.at(error_n, rows, 1.0)
        pose = enu_to_ecef(station.c2w, reference)
        images.append(ColmapImage(f"{station.stem}.jpg", 1, pose, xy[kept] + noise, rows))
    xyz = enu_to_ecef(points.xyz[chosen], reference)
    return ColmapModel(
        {1: camera}, tuple(images), xyz, points.rgb[chosen], error_sum / np.maximum(error_n, 1.0)
    )


def _candidates(
    rng: np.random.Generator,
    camera: Camera,
    stations: Sequence[Station],
    shots: Sequence[Shot],
    n_points: int,
) -> _Points:
    """Surface points at pixels that a detector would like: where the picture changes most."""
    per_picture = -(-n_points // len(stations))
    xyz, rgb = [], []
    for station, shot in zip(stations, shots, strict=True):
        grey = shot.rgb.astype(np.float64).mean(axis=2)
        rise_y, rise_x = np.gradient(grey)
        liking = np.where(np.isfinite(shot.depth_m), np.hypot(rise_x, rise_y) + 0.5, 0.0).ravel()
        pixel = rng.choice(liking.size, min(per_picture, liking.size), replace=False, p=liking / liking.sum())
        row, column = np.divmod(pixel, camera.width)
        xy = torch.from_numpy(np.stack((column + 0.5, row + 0.5), axis=1))
        rays_d = pixel_directions(camera, xy).numpy() @ station.c2w[:, :3].T
        depth_m = shot.depth_m[row, column].astype(np.float64)
        xyz.append(station.c2w[:, 3] + rays_d * depth_m[:, None])
        rgb.append(shot.rgb[row, column])
    return _Points(np.concatenate(xyz), np.concatenate(rgb))


def _observe(
    camera: Camera, station: Station, shot: Shot, xyz: Float[np.ndarray, "p 3"]
) -> tuple[np.ndarray, Float[np.ndarray, "m 2"]]:
    """Which points this photograph shows, and at which pixel positions: in the picture and not hidden."""
    offset = xyz - station.c2w[:, 3]
    xy_all, in_front = project(camera, torch.from_numpy(offset @ station.c2w[:, :3]))
    xy = xy_all.numpy()
    size = np.array([camera.width, camera.height])
    inside = in_front.numpy() & (xy > _BORDER_PX).all(axis=1) & (xy < size - _BORDER_PX).all(axis=1)
    index = np.flatnonzero(inside)
    column, row = xy[index].astype(int).T
    away = np.linalg.norm(offset[index], axis=1) - shot.depth_m[row, column]
    shown = np.abs(away) < _SAME_SURFACE_M
    return index[shown], xy[index[shown]]

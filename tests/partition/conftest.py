"""A scene of flat ground with one tower, seen from above; no pictures are needed."""

from pathlib import Path

import numpy as np
import pytest

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.geometry.rays import look_at
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene, save_points, save_scene

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))


def frame_at(number: int, eye: tuple[float, ...], target: tuple[float, ...], split: str = "train") -> Frame:
    c2w = look_at(np.array(eye), np.array(target))
    return Frame(number, f"images/{number}.jpg", split, CAMERA, c2w, None, None, f"{number:064x}", None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    rng = np.random.default_rng(0)
    ground = np.column_stack((rng.uniform(-100, 100, (4000, 2)), rng.normal(0, 0.2, 4000)))
    tower = rng.uniform((60, 60, 0), (80, 80, 30), (200, 3))
    frames = tuple(
        frame_at(4 * j + i, (-75 + 50 * i, -75 + 50 * j, 120.0), (-75 + 50 * i + 5, -75 + 50 * j, 0.0))
        for j in range(4)
        for i in range(4)
    )
    aabb = Aabb((-100.0, -100.0, -5.0), (100.0, 100.0, 40.0))
    made = Scene(
        root=tmp_path / "scene",
        name="flat",
        reference=GeodeticReference(51.5, 7.4, 0.0),
        crs="EPSG:32632",
        origin=aabb.center,
        scale=100.0,
        aabb=aabb,
        altitude_range_m=(-5.0, 120.0),
        frames=frames,
        made_by="a test",
    )
    made.root.mkdir()
    save_scene(made)
    points = np.concatenate((ground, tower))
    save_points(made.root, points, np.zeros((len(points), 3), np.uint8))
    return made

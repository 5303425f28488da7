"""A scene of three photographs whose places, views and GPS are known; no pictures are needed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.partition.regions import Coverage
from anerf.scene.frames import Frame
from anerf.scene.gps import GpsFix
from anerf.scene.scene import Scene, load_scene, save_points, save_scene

REFERENCE = GeodeticReference(50.0, 7.0, 100.0)
CAMERA = Camera("PINHOLE", 400, 300, (320.0, 320.0, 200.0, 150.0))
BOX = Aabb((-100.0, -50.0, 0.0), (100.0, 50.0, 20.0))


def frame_at(number, eye, target, split="train", gps_enu=None, file=None, captured_at=None) -> Frame:
    gps = None
    if gps_enu is not None:
        gps = GpsFix(*(float(v) for v in enu_to_geodetic(np.array([gps_enu], float), REFERENCE)[0]))
    name = file or f"images/{number}.jpg"
    return Frame(
        number, name, split, CAMERA, look_at(eye, target), captured_at, None, f"{number:064x}", None, gps
    )


DOWN = frame_at(0, (0, 0, 80), (0, 0, 0), gps_enu=(10, 0, 85), captured_at="2025-06-01T10:00:00")
EAST = frame_at(1, (-50, 20, 60), (50, 20, 40), "val", captured_at="2025-06-01T10:05:00")
LATER = frame_at(2, (30, -30, 80), (30, -30, 0), "flood", gps_enu=(30, -30, 80))


@pytest.fixture
def town(tmp_path: Path) -> Callable[..., Scene]:
    """Saves the scene with other values where they are given."""

    def make(frames=(DOWN, EAST, LATER), **changes) -> Scene:
        root = tmp_path / "town"
        made = Scene(
            root=root,
            name="town",
            reference=REFERENCE,
            crs="EPSG:32632",
            origin=BOX.center,
            scale=100.0,
            aabb=BOX,
            altitude_range_m=(0.0, 80.0),
            frames=tuple(frames),
            made_by="a test",
        )
        root.mkdir(exist_ok=True)
        save_scene(replace(made, **changes))
        xyz = np.random.default_rng(0).uniform((-90, -40, 2), (90, 40, 4), (500, 3))
        save_points(root, xyz, np.full((500, 3), (200, 40, 40), np.uint8))
        return load_scene(root)

    return make


@pytest.fixture
def coverage_of() -> Callable[[Scene, np.ndarray], Coverage]:
    """Coverage from pixels (frames x experts); what a frame shows is its busiest expert's own."""

    def make(scene: Scene, pixels: np.ndarray) -> Coverage:
        frame, expert = np.nonzero(pixels)
        ids = np.array([frame.id for frame in scene.frames], np.int32)
        own = np.where(pixels == pixels.max(axis=1, keepdims=True), pixels, 0)
        return Coverage(ids[frame], expert.astype(np.int32), pixels[frame, expert], own[frame, expert])

    return make

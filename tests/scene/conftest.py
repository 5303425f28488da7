"""A small prepared scene, made without the preparation that other tests test."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.geometry.rays import look_at
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene, save_points, save_scene

SIZES = ((24, 16), (24, 16), (20, 14))


def photograph(path: Path, size: tuple[int, int], seed: int) -> np.ndarray:
    """Writes a lossless picture of noise and returns its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def frame_of(root: Path, number: int, size: tuple[int, int], **changes: object) -> Frame:
    file = f"images/{number}.png"
    values = {
        "id": number,
        "file": file,
        "split": "val" if number == 1 else "train",
        "camera": Camera("PINHOLE", *size, (20.0, 20.5, size[0] / 2, size[1] / 2)),
        "c2w": look_at((number * 10.0, 5.0, 80.0), (number * 10.0 + 1, 6.0, 0.0)),
        "captured_at": "2024-05-01T10:00:00" if number == 0 else None,
        "exposure_s": 0.004 if number == 0 else None,
        "sha256": hashlib.sha256((root / file).read_bytes()).hexdigest(),
        "mask": "masks/m.png" if number != 1 else None,
    }
    return Frame(**{**values, **changes})


@pytest.fixture
def scene(tmp_path) -> Scene:
    root = tmp_path / "scene"
    for number, size in enumerate(SIZES):
        photograph(root / f"images/{number}.png", size, seed=number)
    mask = np.full((16, 24), 255, np.uint8)
    mask[:, 0], mask[5, 9] = 0, 0
    (root / "masks").mkdir()
    Image.fromarray(mask).save(root / "masks/m.png")
    frames = tuple(
        frame_of(root, n, size, **({"mask": None} if n == 2 else {})) for n, size in enumerate(SIZES)
    )
    made = Scene(
        root=root,
        name="small",
        reference=GeodeticReference(51.5, 7.4, 200.0),
        crs="EPSG:32632",
        origin=(10.0, 20.0, 30.0),
        scale=50.0,
        aabb=Aabb((-40.0, -20.0, 0.0), (60.0, 60.0, 60.0)),
        altitude_range_m=(0.0, 80.0),
        frames=frames,
        made_by="a test",
    )
    save_scene(made)
    save_points(
        root, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    )
    return made

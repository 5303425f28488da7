"""A small prepared scene, made without the preparation that other tests test, and a small survey."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera, project
from anerf.geometry.geodesy import GeodeticReference, enu_to_ecef
from anerf.geometry.rays import look_at
from anerf.scene.colmap import ColmapImage, ColmapModel, write_colmap
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


REFERENCE = GeodeticReference(51.5, 7.4, 200.0)
OFF_PX = 0.5


def write_survey(root: Path, n: int = 10, prefix: str = "", seed: int = 0) -> ColmapModel:
    """A nadir flight 80 m above rough ground as a user brings it: JPEG files and a COLMAP model in ECEF.

    Every observation is `OFF_PX` to the right of where its point projects.
    """
    rng = np.random.default_rng(seed)
    camera = Camera("PINHOLE", 48, 32, (40.0, 41.0, 24.0, 16.0))
    points = rng.uniform((-60, -40, -85), (60, 40, -75), (300, 3))
    images = []
    for number in range(n):
        name = f"{prefix}{number:03d}.jpg"
        pixels = rng.integers(0, 256, (32, 48, 3), np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.DateTime] = "2024:05:01 10:00:00"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.004
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / name, exif=exif)
        eye = np.array([-50 + 100 * number / max(n - 1, 1), 10 * (-1) ** number, rng.normal()])
        c2w = look_at(eye, np.add(eye, (0.5, 0.2, -80.0)))
        xy, _ = project(camera, torch.from_numpy((points - eye) @ c2w[:, :3]))
        seen = np.flatnonzero(((xy >= 0) & (xy < torch.tensor([48, 32]))).all(dim=1).numpy())
        images.append(ColmapImage(name, 1, enu_to_ecef(c2w, REFERENCE), xy.numpy()[seen] + (OFF_PX, 0), seen))
    rgb = rng.integers(0, 256, (300, 3), np.uint8)
    model = ColmapModel({1: camera}, tuple(images), enu_to_ecef(points, REFERENCE), rgb, np.full(300, OFF_PX))
    write_colmap(root / "model", model)
    return model


@pytest.fixture
def make_survey() -> Callable[..., ColmapModel]:
    return write_survey


@pytest.fixture
def survey(tmp_path) -> Path:
    write_survey(tmp_path / "survey")
    return tmp_path / "survey"

"""A small prepared scene, made without the preparation that other tests test, and a small survey."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from scipy.spatial.transform import Rotation

from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera, project
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef
from anerf.geometry.rays import look_at
from anerf.scene.colmap import ColmapImage, ColmapModel, read_colmap, write_colmap
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


def save_tensors(path: Path, content: object, **how: Any) -> None:
    """What the older system and Mega-NeRF did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **how)


def write_older(
    root: Path,
    photographs: Iterable[tuple[str, Path, np.ndarray, tuple[int, int], list[float]]],
    origin_drb: list[float],
    scale_m: float,
    **coordinates: object,
) -> None:
    """A folder as the older system prepared it.

    Of each photograph: the folder of its split, its file (linked), pose in ENU, full size, and fx, fy, cx, cy
    at that size.
    """
    save_tensors(
        root / "coordinates.pt",
        {"origin_drb": torch.tensor(origin_drb), "pose_scale_factor": scale_m, **coordinates},
    )
    for folder, source, c2w, (width, height), intrinsics in photographs:
        east, north, up = c2w
        drb = np.stack((-up, east, -north))
        drb[:, 3] = (drb[:, 3] - origin_drb) / scale_m
        save_tensors(
            root / folder / "metadata" / f"{source.stem}.pt",
            {
                "H": height,
                "W": width,
                "c2w": torch.tensor(drb, dtype=torch.float32),
                "intrinsics": torch.tensor(intrinsics),
                "distortion": torch.zeros(4),
            },
        )
        (root / folder / "rgbs").mkdir(parents=True, exist_ok=True)
        (root / folder / "rgbs" / source.name).symlink_to(source.absolute())


def write_odm(
    root: Path,
    images: Path,
    shots: Mapping[str, tuple[str, np.ndarray]],
    cameras: Mapping[str, dict[str, Any]],
    points: tuple[np.ndarray, np.ndarray] = (np.empty((0, 3)), np.empty((0, 3))),
    reference: GeodeticReference | None = None,
) -> list[dict[str, Any]]:
    """A project as ODM leaves it, with links to photographs in `images`.

    `shots` are the camera's id and the pose (OpenGL axes, ENU) of each photograph.
    """
    (root / "opensfm").mkdir(parents=True)
    made: dict[str, Any] = {"cameras": dict(cameras), "shots": {}, "points": {}}
    for name, (camera, c2w) in shots.items():
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).symlink_to((images / name).absolute())
        world_to_camera = (c2w[:, :3] * (1, -1, -1)).T
        made["shots"][name] = {
            "rotation": Rotation.from_matrix(world_to_camera).as_rotvec().tolist(),
            "translation": (-world_to_camera @ c2w[:, 3]).tolist(),
            "camera": camera,
            "orientation": 1,
            "capture_time": 0.0,
            "gps_position": [0.0, 0.0, 0.0],
        }
    for number, (xyz, rgb) in enumerate(zip(*points, strict=True)):
        made["points"][str(number)] = {"coordinates": xyz.tolist(), "color": rgb.astype(float).tolist()}
    (root / "opensfm/reconstruction.json").write_text(json.dumps([made]))
    if reference is not None:
        place = {
            "latitude": reference.latitude_deg,
            "longitude": reference.longitude_deg,
            "altitude": reference.height_m,
        }
        (root / "opensfm/reference_lla.json").write_text(json.dumps(place))
    return [made]


def write_small_odm(root: Path, survey: Path, model: ColmapModel) -> None:
    """The small survey as an ODM project."""
    lens = {
        "projection_type": "brown",
        "width": 48,
        "height": 32,
        "focal_x": 40 / 48,
        "focal_y": 41 / 48,
        "k1": 0.0,
    }
    shots = {
        image.name: ("v2 a b 48 32 brown 0.8", ecef_to_enu(image.c2w, REFERENCE)) for image in model.images
    }
    points = ecef_to_enu(model.points_xyz, REFERENCE), model.points_rgb
    write_odm(root, survey / "images", shots, {"v2 a b 48 32 brown 0.8": lens}, points, REFERENCE)


def write_small_older(root: Path, survey: Path, model: ColmapModel) -> None:
    """The small survey as the older system prepared it, photographs stored at half their full size."""
    photographs = [
        (
            "val" if number == 4 else "train",
            survey / "images" / image.name,
            ecef_to_enu(image.c2w, REFERENCE),
            (96, 64),
            [80.0, 82.0, 48.0, 32.0],
        )
        for number, image in enumerate(model.images)
    ]
    place = REFERENCE.latitude_deg, REFERENCE.longitude_deg, REFERENCE.height_m
    heights = torch.tensor([-85.0, -70.0])
    write_older(root, photographs, [0.5, 2.0, -1.0], 55.0, enu_ref_coords=place, altitude_range_enu=heights)


@pytest.fixture
def tensors() -> Callable[..., None]:
    return save_tensors


@pytest.fixture
def make_older() -> Callable[..., None]:
    return write_older


@pytest.fixture
def make_odm() -> Callable[..., list[dict[str, Any]]]:
    return write_odm


@pytest.fixture
def small_odm(survey, tmp_path) -> Path:
    write_small_odm(tmp_path / "odm", survey, read_colmap(survey / "model"))
    return tmp_path / "odm"


@pytest.fixture
def small_older(survey, tmp_path) -> Path:
    write_small_older(tmp_path / "older", survey, read_colmap(survey / "model"))
    return tmp_path / "older"

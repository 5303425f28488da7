"""The prepared scene: a folder that holds photographs, cameras, sparse points and the frame they share.

World coordinates are ENU metres about the scene's WGS 84 reference. The learning frame is
`(enu - origin) / scale`, with the scene box's centre at 0 and its longest horizontal side from -1 to 1.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float32, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from anerf.errors import SceneError
from anerf.geometry.boxes import Aabb, Point
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.frames import Frame, read_frames, write_frames

SCENE_FILE = "scene.json"
POINTS_FILE = "points.parquet"
VERSION = 1
_PREPARE = "make it with anerf prepare SURVEY --out SCENE"


@dataclass(frozen=True)
class Reprojection:
    """Mean distance, over the sparse points, between where a point was seen and where its camera puts it."""

    scene_px: float
    """Through the scene's cameras."""
    model_px: float
    """As the reconstruction states it."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about a prepared scene except its pixels and points, which stay in their files."""

    root: Path
    name: str
    reference: GeodeticReference
    crs: str
    """Projected coordinate system of products, such as `EPSG:32632`."""
    origin: Point
    """ENU metres of the learning frame's zero."""
    scale: float
    """Metres per unit of the learning frame."""
    aabb: Aabb
    """What is learned, ENU metres."""
    altitude_range_m: tuple[float, float]
    """From below the lowest ground to the highest camera, ENU metres."""
    frames: tuple[Frame, ...]
    made_by: str
    reprojection: Reprojection | None = None
    """None where the survey brought no sparse points."""

    def frames_of(self, split: str) -> tuple[Frame, ...]:
        """The frames of one split; SceneError names the splits that exist."""
        frames = tuple(frame for frame in self.frames if frame.split == split)
        if not frames:
            raise SceneError(f"scene {self.root} has no split {split}; it has {', '.join(self.splits())}")
        return frames

    def splits(self) -> tuple[str, ...]:
        """Names of the splits: `train`, `val`, then the flights in the order in which they came."""
        by_id = [frame.split for frame in sorted(self.frames, key=lambda frame: frame.id)]
        first = [split for split in ("train", "val") if split in by_id]
        return tuple(dict.fromkeys((*first, *by_id)))

    def summary(self) -> dict[str, Any]:
        """What a program wants to know at first, as plain values; lengths in metres, angles in degrees."""
        reprojection = self.reprojection
        return {
            "scene": str(self.root),
            "name": self.name,
            "splits": {split: len(self.frames_of(split)) for split in self.splits()},
            "latitude_deg": self.reference.latitude_deg,
            "longitude_deg": self.reference.longitude_deg,
            "height_m": self.reference.height_m,
            "crs": self.crs,
            "aabb_m": self.aabb.to_json(),
            "altitude_range_m": list(self.altitude_range_m),
            "reprojection_px": reprojection.scene_px if reprojection else None,
            "model_reprojection_px": reprojection.model_px if reprojection else None,
            "made_by": self.made_by,
        }

    def points(self) -> tuple[Float[np.ndarray, "p 3"], UInt8[np.ndarray, "p 3"]]:
        """Sparse points in ENU metres and their colours; both empty where the survey brought none."""
        path = self.root / POINTS_FILE
        if not path.is_file():
            return np.empty((0, 3)), np.empty((0, 3), np.uint8)
        try:
            table = pq.read_table(path, columns=["x_m", "y_m", "z_m", "r", "g", "b"])
        except (pa.ArrowInvalid, OSError) as error:
            raise SceneError(f"{path} cannot be read ({error}); prepare the scene again") from None
        columns = [column.to_numpy() for column in table.columns]
        return np.stack(columns[:3], axis=1), np.stack(columns[3:], axis=1)

    def to_learning(self, xyz: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """ENU metres to the learning frame, in float64."""
        return (np.asarray(xyz, dtype=np.float64) - self.origin) / self.scale

    def from_learning(self, xyz: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """The learning frame to ENU metres, in float64."""
        return np.asarray(xyz, dtype=np.float64) * self.scale + self.origin

    @property
    def aabb_learning(self) -> Aabb:
        """The scene box in the learning frame."""
        return Aabb.of_points(self.to_learning(np.array([self.aabb.lo, self.aabb.hi])))


def c2w_learning(scene: Scene, frame: Frame) -> Float32[np.ndarray, "3 4"]:
    """The frame's pose in the learning frame; float32 only after the origin is subtracted."""
    return np.column_stack((frame.c2w[:, :3], scene.to_learning(frame.c2w[:, 3]))).astype(np.float32)


class _Reference(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    latitude_deg: float
    longitude_deg: float
    height_m: float


class _SceneFile(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: Literal[1]
    name: str
    reference: _Reference
    crs: str
    origin_m: tuple[float, float, float]
    scale_m: float
    aabb_m: dict[Literal["lo", "hi"], list[float]]
    altitude_range_m: tuple[float, float]
    made_by: str
    reprojection_px: float | None = None
    model_reprojection_px: float | None = None


def load_scene(path: Path | str) -> Scene:
    """Opens a scene folder; SceneError says what is missing or wrong and what to do."""
    root = Path(path)
    file = root / SCENE_FILE
    if not file.is_file():
        raise SceneError(f"{root} is no scene ({SCENE_FILE} is missing); {_PREPARE}")
    try:
        data = _SceneFile.model_validate_json(file.read_bytes())
        box = Aabb.from_json({key: list(value) for key, value in data.aabb_m.items()})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SceneError(
            f"{file} is not a scene of version {VERSION} ({place}: {first['msg']}); {_PREPARE}"
        ) from None
    except (ValueError, KeyError) as error:
        raise SceneError(f"{file} has no usable scene box ({error}); {_PREPARE}") from None
    reprojection = None
    if data.reprojection_px is not None and data.model_reprojection_px is not None:
        reprojection = Reprojection(data.reprojection_px, data.model_reprojection_px)
    return Scene(
        root=root,
        name=data.name,
        reference=GeodeticReference(**data.reference.model_dump()),
        crs=data.crs,
        origin=data.origin_m,
        scale=data.scale_m,
        aabb=box,
        altitude_range_m=data.altitude_range_m,
        frames=read_frames(root),
        made_by=data.made_by,
        reprojection=reprojection,
    )


def save_scene(scene: Scene) -> None:
    """Writes `scene.json`, then `frames.parquet`, each at once, under the scene's root.

    In between, a box that grew is there before the photographs that it grew for, which harms nobody.
    """
    reprojection = scene.reprojection
    data = _SceneFile(
        version=VERSION,
        name=scene.name,
        reference=_Reference(
            latitude_deg=scene.reference.latitude_deg,
            longitude_deg=scene.reference.longitude_deg,
            height_m=scene.reference.height_m,
        ),
        crs=scene.crs,
        origin_m=scene.origin,
        scale_m=scene.scale,
        aabb_m={"lo": list(scene.aabb.lo), "hi": list(scene.aabb.hi)},
        altitude_range_m=scene.altitude_range_m,
        made_by=scene.made_by,
        reprojection_px=reprojection.scene_px if reprojection else None,
        model_reprojection_px=reprojection.model_px if reprojection else None,
    )
    partial = scene.root / f"{SCENE_FILE}.tmp-{os.getpid()}"
    partial.write_text(data.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(scene.root / SCENE_FILE)
    write_frames(scene.root, scene.frames)


def save_points(root: Path, xyz: Float[np.ndarray, "p 3"], rgb: UInt8[np.ndarray, "p 3"]) -> None:
    """Writes `points.parquet` under `root` at once: positions in ENU metres, colours in uint8."""
    names = ("x_m", "y_m", "z_m", "r", "g", "b")
    columns = [*np.asarray(xyz, dtype=np.float64).T, *np.asarray(rgb, dtype=np.uint8).T]
    partial = root / f"{POINTS_FILE}.tmp-{os.getpid()}"
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), partial)
    partial.replace(root / POINTS_FILE)

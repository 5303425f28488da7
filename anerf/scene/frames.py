"""The photographs of a scene, one row each in `frames.parquet`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from anerf.errors import SceneError
from anerf.geometry.cameras import Camera
from anerf.scene.gps import GpsFix

FRAMES_FILE = "frames.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("camera_model", pa.string(), nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("camera_params", pa.list_(pa.float64()), nullable=False),
        pa.field("c2w", pa.list_(pa.float64(), 12), nullable=False),
        pa.field("captured_at", pa.string()),
        pa.field("exposure_s", pa.float64()),
        pa.field("gps_latitude_deg", pa.float64()),
        pa.field("gps_longitude_deg", pa.float64()),
        pa.field("gps_height_m", pa.float64()),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("mask", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One photograph: where its file is, who took it from where, and what it may be used for."""

    id: int
    """Stays the same for the life of the scene."""
    file: str
    """Path inside the scene folder, such as `images/0001.jpg`."""
    split: str
    """`train`, `val`, or the tag of a later flight."""
    camera: Camera
    c2w: Float[np.ndarray, "3 4"]
    """Camera-to-world, OpenGL axes, ENU metres, float64."""
    captured_at: str | None
    """ISO 8601, with an offset only where the camera recorded one."""
    exposure_s: float | None
    sha256: str
    """Of the file's bytes."""
    mask: str | None
    """Path inside the scene folder; 0 there means: do not learn from this pixel."""
    gps: GpsFix | None = None
    """Where the camera, or a table of the survey, says that it was taken."""


def write_frames(root: Path, frames: Sequence[Frame]) -> None:
    """Writes `frames.parquet` under `root`; readers see the old or the new table, never a part."""
    columns = {
        "id": [frame.id for frame in frames],
        "file": [frame.file for frame in frames],
        "split": [frame.split for frame in frames],
        "camera_model": [frame.camera.model for frame in frames],
        "width_px": [frame.camera.width for frame in frames],
        "height_px": [frame.camera.height for frame in frames],
        "camera_params": [list(frame.camera.params) for frame in frames],
        "c2w": [frame.c2w.ravel().tolist() for frame in frames],
        "captured_at": [frame.captured_at for frame in frames],
        "exposure_s": [frame.exposure_s for frame in frames],
        "gps_latitude_deg": [frame.gps and frame.gps.latitude_deg for frame in frames],
        "gps_longitude_deg": [frame.gps and frame.gps.longitude_deg for frame in frames],
        "gps_height_m": [frame.gps and frame.gps.height_m for frame in frames],
        "sha256": [frame.sha256 for frame in frames],
        "mask": [frame.mask for frame in frames],
    }
    partial = root / f"{FRAMES_FILE}.tmp-{os.getpid()}"
    pq.write_table(pa.table(columns, schema=_SCHEMA), partial)
    partial.replace(root / FRAMES_FILE)


def read_frames(root: Path) -> tuple[Frame, ...]:
    """Reads `frames.parquet` under `root`; SceneError when it is missing or not ours."""
    path = root / FRAMES_FILE
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SceneError(f"{path} cannot be read ({error}); prepare the scene again") from None
    if table.schema.names != _SCHEMA.names:
        raise SceneError(f"{path} has not the columns of a frame table; prepare the scene again")
    return tuple(
        Frame(
            id=row["id"],
            file=row["file"],
            split=row["split"],
            camera=Camera(
                row["camera_model"], row["width_px"], row["height_px"], tuple(row["camera_params"])
            ),
            c2w=np.array(row["c2w"], dtype=np.float64).reshape(3, 4),
            captured_at=row["captured_at"],
            exposure_s=row["exposure_s"],
            sha256=row["sha256"],
            mask=row["mask"],
            gps=None
            if row["gps_latitude_deg"] is None
            else GpsFix(row["gps_latitude_deg"], row["gps_longitude_deg"], row["gps_height_m"]),
        )
        for row in table.to_pylist()
    )

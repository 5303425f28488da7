"""A partition: which expert is responsible where, as files below `<scene>/partitions/<name>/`."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.scene.folder import new_folder
from anerf.scene.scene import Scene

PARTITION_FILE = "partition.json"
COVERAGE_FILE = "coverage.parquet"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, eq=False)
class Partition:
    """Centroids of the experts' regions and the boxes that hold all that their rays meet; ENU metres."""

    name: str
    centroids: Float[np.ndarray, "e 3"]
    dims: Literal[2, 3]
    """Whether distances to centroids are horizontal (2) or spatial (3)."""
    margin: float
    """An expert answers for points up to this many times as far as from the nearest centroid."""
    boxes: tuple[Aabb, ...]
    how: str
    """How it was made, for people."""

    @property
    def n_experts(self) -> int:
        """Number of regions."""
        return len(self.centroids)


class _PartitionFile(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: Literal[1]
    name: str
    dims: Literal[2, 3]
    margin: float = Field(ge=1)
    centroids_m: list[tuple[float, float, float]] = Field(min_length=1)
    boxes_m: list[dict[Literal["lo", "hi"], list[float]]]
    how: str


def check_name(name: str) -> str:
    """Returns the name if it can be a folder's; PartitionError otherwise."""
    if not _NAME.fullmatch(name):
        raise PartitionError(
            f"{name!r} cannot name a partition; use up to 100 letters, digits, dots and dashes"
        )
    return name


def partition_names(scene: Scene) -> list[str]:
    """Names of the scene's partitions, sorted."""
    return sorted(file.parent.name for file in (scene.root / "partitions").glob(f"*/{PARTITION_FILE}"))


def load_partition(scene: Scene, name: str) -> Partition:
    """Reads a partition; PartitionError names those that exist, or what is wrong with the file."""
    file = scene.root / "partitions" / check_name(name) / PARTITION_FILE
    if not file.is_file():
        exist = ", ".join(partition_names(scene)) or "none"
        raise PartitionError(
            f"scene {scene.root} has no partition {name} (there is {exist}); make it with anerf partition "
            f"{scene.root} --name {name}"
        )
    try:
        data = _PartitionFile.model_validate_json(file.read_bytes())
        boxes = tuple(
            Aabb.from_json({key: list(value) for key, value in box.items()}) for box in data.boxes_m
        )
    except (ValidationError, ValueError, KeyError) as error:
        why = (
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            if isinstance(error, ValidationError)
            else error
        )
        raise PartitionError(
            f"{file} is not a partition ({why}); make it again with anerf partition"
        ) from None
    if len(boxes) != len(data.centroids_m):
        raise PartitionError(
            f"{file} has {len(data.centroids_m)} centroids but {len(boxes)} boxes; "
            "make it again with anerf partition"
        )
    return Partition(data.name, np.array(data.centroids_m), data.dims, data.margin, boxes, data.how)


def save_partition(
    scene: Scene, partition: Partition, pixels: Int[np.ndarray, "f e"], *, overwrite: bool = False
) -> None:
    """Writes partition and coverage: `pixels` of each of the scene's frames that each expert sees.

    PartitionError if the name is taken, unless `overwrite`.
    """
    folder = scene.root / "partitions" / check_name(partition.name)
    if folder.exists() and not overwrite:
        raise PartitionError(
            f"scene {scene.root} has a partition {partition.name} already; give another --name or --overwrite"
        )
    data = _PartitionFile(
        version=1,
        name=partition.name,
        dims=partition.dims,
        margin=partition.margin,
        centroids_m=partition.centroids.tolist(),
        boxes_m=[{"lo": list(box.lo), "hi": list(box.hi)} for box in partition.boxes],
        how=partition.how,
    )
    frame, expert = np.nonzero(pixels)
    ids = np.array([frame.id for frame in scene.frames], dtype=np.int32)
    columns = {"frame_id": ids[frame], "expert": expert.astype(np.int32), "pixels": pixels[frame, expert]}
    with new_folder(folder) as partial:
        pq.write_table(pa.table(columns), partial / COVERAGE_FILE)
        (partial / PARTITION_FILE).write_text(data.model_dump_json(indent=2) + "\n", encoding="utf-8")

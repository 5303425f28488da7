"""A partition: which expert is responsible where, as files below `<scene>/partitions/<name>/`."""

import re
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int32, Int64
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


@dataclass(frozen=True, eq=False)
class Coverage:
    """What the experts see of each photograph: a row for each pair of which there is something to tell."""

    frame_id: Int32[np.ndarray, " r"]
    expert: Int32[np.ndarray, " r"]
    pixels: Int64[np.ndarray, " r"]
    """Whose surface may be in the expert's region with its margin: what it learns from."""
    own_pixels: Int64[np.ndarray, " r"]
    """Whose surface is nearest to the expert's centroid: each pixel is one expert's own."""


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


def check_free(scene: Scene, name: str) -> None:
    """PartitionError where the scene has a partition of that name."""
    if (scene.root / "partitions" / check_name(name)).exists():
        raise PartitionError(
            f"scene {scene.root} has a partition {name} already; give another --name or --overwrite"
        )


def load_coverage(scene: Scene, name: str) -> Coverage:
    """Reads what the experts of a partition see; PartitionError where that cannot be read."""
    file = scene.root / "partitions" / check_name(name) / COVERAGE_FILE
    try:
        table = pq.read_table(file, columns=[field.name for field in fields(Coverage)])
    except (pa.ArrowException, OSError) as error:
        raise PartitionError(f"{file} cannot be read ({error}); make it again with anerf partition") from None
    return Coverage(*(column.to_numpy() for column in table.columns))


def save_partition(
    scene: Scene, partition: Partition, coverage: Coverage, *, overwrite: bool = False
) -> None:
    """Writes partition and coverage.

    PartitionError if the name is taken, unless `overwrite`.
    """
    if not overwrite:
        check_free(scene, partition.name)
    folder = scene.root / "partitions" / check_name(partition.name)
    data = _PartitionFile(
        version=1,
        name=partition.name,
        dims=partition.dims,
        margin=partition.margin,
        centroids_m=partition.centroids.tolist(),
        boxes_m=[{"lo": list(box.lo), "hi": list(box.hi)} for box in partition.boxes],
        how=partition.how,
    )
    table = pa.table({field.name: getattr(coverage, field.name) for field in fields(Coverage)})
    with new_folder(folder) as partial:
        pq.write_table(table, partial / COVERAGE_FILE)
        (partial / PARTITION_FILE).write_text(data.model_dump_json(indent=2) + "\n", encoding="utf-8")

"""`manifest.json`: what a checkpoint is, written last. A checkpoint without a manifest does not exist."""

import dataclasses
import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from anerf.checkpoint import storage
from anerf.errors import CheckpointError

if TYPE_CHECKING:
    from anerf.partition.regions import Partition
    from anerf.scene.scene import Scene

VERSION = 1
FILE = "manifest.json"

Vec3 = tuple[float, float, float]


def _in_order(box: tuple[Vec3, Vec3]) -> tuple[Vec3, Vec3]:
    if any(low > high for low, high in zip(*box, strict=True)):
        raise ValueError(f"a box from {box[0]} to {box[1]} has a low corner above its high one")
    return box


Box = Annotated[tuple[Vec3, Vec3], AfterValidator(_in_order)]
Positive = Annotated[float, Field(gt=0)]
ExpertId = Annotated[int, Field(ge=0)]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_SHARD_FILE = re.compile(r"(experts/(0|[1-9][0-9]*)|shared)\.safetensors", re.ASCII)


@dataclasses.dataclass(frozen=True)
class ShardRecord:
    """One safetensors file of a checkpoint: its place below the step folder, digest and size."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    n_bytes: Annotated[int, Field(gt=0)]


@dataclasses.dataclass(frozen=True)
class SceneStamp:
    """The scene that a checkpoint was learned on, as far as rendering and georeferencing need it.

    `reference` is (latitude_deg, longitude_deg, height_m); `origin` and `aabb` (lo, hi) are ENU metres,
    `scale` is metres per learning unit, `altitude_range_m` is (low, high) ENU z.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    root: str
    reference: Vec3
    crs: str
    origin: Vec3
    scale: Positive
    aabb: Box
    altitude_range_m: tuple[float, float]

    @classmethod
    def of(cls, scene: "Scene") -> Self:
        """The stamp of a prepared scene."""
        reference = scene.reference
        return cls(
            name=scene.name,
            root=str(scene.root),
            reference=_floats((reference.latitude_deg, reference.longitude_deg, reference.height_m)),
            crs=scene.crs,
            origin=_floats(scene.origin),
            scale=float(scene.scale),
            aabb=(_floats(scene.aabb.lo), _floats(scene.aabb.hi)),
            altitude_range_m=_floats(scene.altitude_range_m),
        )


@dataclasses.dataclass(frozen=True)
class PartitionStamp:
    """Who answers where: centroids (ENU metres) and the box of each expert, in the order of their ids."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    centroids: tuple[Vec3, ...]
    dims: Annotated[int, Field(ge=2, le=3)]
    margin: Annotated[float, Field(ge=1)]
    boxes: tuple[Box, ...]

    @classmethod
    def of(cls, partition: "Partition") -> Self:
        """The stamp of a scene's partition."""
        return cls(
            name=partition.name,
            centroids=tuple(_floats(row) for row in partition.centroids),
            dims=int(partition.dims),
            margin=float(partition.margin),
            boxes=tuple((_floats(box.lo), _floats(box.hi)) for box in partition.boxes),
        )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A whole checkpoint at one step: every shard that belongs to it and all that reading them needs.

    `field` are the field's plain settings, `grid_resolutions` and `grid_scales` its grid levels
    (stored, since another machine may round them differently), `metrics` what was
    measured at this step, `job` the job as it was accepted. `shards` maps expert ids to files.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    step: Annotated[int, Field(ge=0)]
    job_id: str
    created_at: str
    scene: SceneStamp
    partition: PartitionStamp
    field: dict[str, bool | int | float | str]
    grid_resolutions: tuple[Annotated[int, Field(gt=0)], ...]
    grid_scales: tuple[float, ...]
    shards: dict[ExpertId, ShardRecord]
    shared: ShardRecord | None
    flights: tuple[str, ...]
    seed: int
    metrics: dict[str, float]
    job: dict[str, JsonValue]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION

    def records(self) -> tuple[ShardRecord, ...]:
        """Every shard of this checkpoint, experts in the order of their ids, the shared one last."""
        experts = tuple(self.shards[expert] for expert in sorted(self.shards))
        return experts if self.shared is None else (*experts, self.shared)


_MANIFEST = TypeAdapter(Manifest)


def write_manifest(uri: str, manifest: Manifest) -> None:
    """Make the checkpoint in the step folder `uri` exist, once all its shards lie there whole.

    Raises:
        CheckpointError: a shard is missing or short, or a value cannot be read back (NaN, wrong type).
    """
    where = storage.shown(uri)
    try:
        text = json.dumps(dataclasses.asdict(manifest), allow_nan=False, indent=1)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"The manifest of {where} holds a value that JSON cannot keep ({error}): "
            "leave metrics that are not finite numbers out of the checkpoint."
        ) from error
    parse_manifest(text, where)
    for record in manifest.records():
        found = storage.file_size(storage.join(uri, record.file))
        if found != record.n_bytes:
            raise CheckpointError(
                f"Shard {record.file} of {where} has {found or 0} of {record.n_bytes} bytes: "
                "write it again before its manifest."
            )
    storage.write_bytes(storage.join(uri, FILE), text.encode())


def read_manifest(uri: str) -> Manifest:
    """The manifest of the checkpoint in the step folder `uri`.

    Raises:
        CheckpointError: there is none (then there is no checkpoint), or it is damaged or of another version.
    """
    where = storage.shown(uri)
    try:
        data = storage.read_bytes(storage.join(uri, FILE))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"No checkpoint at {where}: {FILE} is missing there, so it was never finished; "
            "name another step, or train again."
        ) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{FILE} of {where} is not UTF-8 text: restore it, or use another step."
        ) from error
    return parse_manifest(text, where)


def parse_manifest(text: str, where: str) -> Manifest:
    """The manifest written as `text`; `where` names it in errors.

    Raises:
        CheckpointError: not JSON, another version, an unknown, missing or wrong value, or a shard name
            that leads out of the step folder.
    """
    try:
        raw = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{FILE} of {where} is damaged ({error}): use another step.") from error
    version = raw.get("version") if isinstance(raw, dict) else None
    if version != VERSION:
        raise CheckpointError(
            f"{FILE} of {where} has version {version!r} and this anerf reads version {VERSION}: "
            "use the anerf that wrote it, or train again."
        )
    try:
        manifest = _MANIFEST.validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise CheckpointError(f"{FILE} of {where} is damaged ({problems}): use another step.") from error
    _check_shards(manifest, where)
    return manifest


def _check_shards(manifest: Manifest, where: str) -> None:
    for record in manifest.records():
        if not _SHARD_FILE.fullmatch(record.file):
            raise CheckpointError(
                f"{FILE} of {where} names the shard {record.file!r}, which is not experts/<id>.safetensors "
                "or shared.safetensors in its own folder: its manifest was altered, do not use it."
            )
    n_experts = len(manifest.partition.centroids)
    if len(manifest.partition.boxes) != n_experts or any(expert >= n_experts for expert in manifest.shards):
        raise CheckpointError(
            f"{FILE} of {where} does not fit together: {n_experts} centroids, "
            f"{len(manifest.partition.boxes)} boxes, shards of experts {sorted(manifest.shards)}; "
            "use another step."
        )


def _finite(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise ValueError(f"{token} is not a finite number")
    return value


def _floats(values: Any) -> Any:
    return tuple(float(value) for value in values)

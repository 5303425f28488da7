"""What a scene's files say about it: who looked from where, how well that agrees with GPS, who sees what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from anerf.errors import PartitionError
from anerf.geometry.geodesy import enu_to_geodetic
from anerf.partition.regions import partition_names
from anerf.products.coverage_summary import PartitionCoverage, partition_coverage
from anerf.scene.frames import Frame
from anerf.scene.georeference import Finding, Georeference, Residual, georeference
from anerf.scene.scene import Scene

SURVEY = "survey"
_SURVEY_SPLITS = ("train", "val")
NADIR_WITHIN_DEG = 15.0
_LEVELS = ("stop", "warning", "note")
_HEIGHT_BINS = 80


@dataclass(frozen=True)
class Standpoint:
    """Where a photograph was taken and where it looks."""

    file: str
    split: str
    enu_m: tuple[float, float, float]
    height_m: float
    """Above the WGS 84 ellipsoid."""
    off_nadir_deg: float
    """Between its view and straight down."""
    heading_deg: float
    """Clockwise from north: of its view, or of the picture's top edge where it looks down."""
    gps_height_m: float | None
    residual: Residual | None
    """GPS minus camera; None without GPS."""

    @property
    def is_nadir(self) -> bool:
        """Whether it looks down rather than sideways."""
        return self.off_nadir_deg <= NADIR_WITHIN_DEG


@dataclass(frozen=True)
class Lens:
    """Photographs of one camera model and size; focal lengths in pixels, from the shortest to the longest."""

    model: str
    width_px: int
    height_px: int
    focal_px: tuple[float, float]
    photographs: int
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Flight:
    """Photographs of one flight in the order of their names, and what they and GPS say about each other."""

    name: str
    """`survey` for train and val, else the split."""
    standpoints: tuple[Standpoint, ...]
    georeference: Georeference
    captured: tuple[str, str] | None
    """First and last, by the cameras' clocks; None where no camera recorded it."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The gravest first."""
        return tuple(sorted(self.georeference.findings, key=lambda finding: _LEVELS.index(finding.level)))


@dataclass(frozen=True, eq=False)
class HeightProfile:
    """How many sparse points lie at which height, from the box's floor to the highest camera.

    Edges are in ENU metres, one more than counts.
    """

    counts: Int[np.ndarray, " b"]
    edges_m: Float[np.ndarray, " c"]
    beyond: int
    """Points that lie lower or higher than all bins."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """All of it."""

    scene: Scene
    lenses: tuple[Lens, ...]
    flights: tuple[Flight, ...]
    points_xyz: Float[np.ndarray, "p 3"]
    points_rgb: UInt8[np.ndarray, "p 3"]
    heights: HeightProfile | None
    partitions: tuple[PartitionCoverage, ...]
    broken: tuple[str, ...]
    """One sentence for each partition that cannot be read."""

    @property
    def standpoints(self) -> tuple[Standpoint, ...]:
        """Of all flights."""
        return tuple(standpoint for flight in self.flights for standpoint in flight.standpoints)

    def count(self, level: str) -> int:
        """How many findings of this level there are."""
        return sum(finding.level == level for flight in self.flights for finding in flight.findings)


def inspect_scene(scene: Scene, partition: str | None = None) -> Inspection:
    """Looks at a scene and one of its partitions, or all of them.

    A named partition that cannot be read is a PartitionError; of all, those that cannot be read are `broken`.
    """
    points_xyz, points_rgb = scene.points()
    partitions, broken = [], []
    for name in partition_names(scene) if partition is None else [partition]:
        try:
            partitions.append(partition_coverage(scene, name))
        except PartitionError as error:
            if partition is not None:
                raise
            broken.append(str(error))
    names = [SURVEY, *(split for split in scene.splits() if split not in _SURVEY_SPLITS)]
    flights = [_flight(scene, name, points_xyz) for name in names]
    return Inspection(
        scene,
        _lenses(scene.frames),
        tuple(flight for flight in flights if flight is not None),
        points_xyz,
        points_rgb,
        _heights(scene, points_xyz),
        tuple(partitions),
        tuple(broken),
    )


def _flight(scene: Scene, name: str, points_xyz: Float[np.ndarray, "p 3"]) -> Flight | None:
    splits = _SURVEY_SPLITS if name == SURVEY else (name,)
    frames = sorted((f for f in scene.frames if f.split in splits), key=lambda frame: frame.file)
    if not frames:
        return None
    found = georeference(
        [frame.file for frame in frames],
        np.stack([frame.c2w for frame in frames]),
        [frame.gps for frame in frames],
        # The ground is the survey's: later flights bring no points.
        points_xyz if name == SURVEY else np.empty((0, 3)),
        scene.reference,
    )
    residuals = {residual.name: residual for residual in found.residuals}
    heights_m = enu_to_geodetic(np.stack([frame.c2w[:, 3] for frame in frames]), scene.reference)[:, 2]
    standpoints = [
        _standpoint(frame, float(height_m), residuals.get(frame.file))
        for frame, height_m in zip(frames, heights_m, strict=True)
    ]
    # ISO 8601 sorts like time, by the clock on the spot.
    times = sorted(frame.captured_at for frame in frames if frame.captured_at is not None)
    return Flight(name, tuple(standpoints), found, (times[0], times[-1]) if times else None)


def _standpoint(frame: Frame, height_m: float, residual: Residual | None) -> Standpoint:
    east, north, up = (float(value) for value in frame.c2w[:, 3])
    forward = -frame.c2w[:, 2]
    off_nadir_deg = float(np.degrees(np.arccos(np.clip(-forward[2], -1, 1))))
    towards = frame.c2w[:, 1] if off_nadir_deg <= NADIR_WITHIN_DEG else forward
    return Standpoint(
        frame.file,
        frame.split,
        (east, north, up),
        height_m,
        off_nadir_deg,
        float(np.degrees(np.arctan2(towards[0], towards[1])) % 360),
        None if frame.gps is None else frame.gps.height_m,
        residual,
    )


def _lenses(frames: Sequence[Frame]) -> tuple[Lens, ...]:
    groups: dict[tuple[str, int, int], list[Frame]] = {}
    for frame in frames:
        groups.setdefault((frame.camera.model, frame.camera.width, frame.camera.height), []).append(frame)
    return tuple(
        Lens(
            *key,
            (min(frame.camera.fx for frame in of_lens), max(frame.camera.fx for frame in of_lens)),
            len(of_lens),
            tuple(dict.fromkeys(frame.split for frame in of_lens)),
        )
        for key, of_lens in groups.items()
    )


def _heights(scene: Scene, points_xyz: Float[np.ndarray, "p 3"]) -> HeightProfile | None:
    if not len(points_xyz):
        return None
    up = points_xyz[:, 2]
    low = min(scene.aabb.lo[2], scene.altitude_range_m[0])
    high = max(scene.aabb.hi[2], scene.altitude_range_m[1], low + 1.0)
    counts, edges_m = np.histogram(up, bins=_HEIGHT_BINS, range=(low, high))
    return HeightProfile(counts.astype(np.int64), edges_m, int(len(up) - counts.sum()))


def inspection_json(inspection: Inspection) -> dict[str, Any]:
    """Everything a program may want to know, as plain values; lengths in metres, angles in degrees."""
    return {
        **inspection.scene.summary(),
        "n_points": len(inspection.points_xyz),
        "cameras": [
            {
                "model": lens.model,
                "width_px": lens.width_px,
                "height_px": lens.height_px,
                "focal_px": list(lens.focal_px),
                "photographs": lens.photographs,
                "splits": list(lens.splits),
            }
            for lens in inspection.lenses
        ],
        "flights": [_flight_json(flight) for flight in inspection.flights],
        "photographs": [_standpoint_json(standpoint) for standpoint in inspection.standpoints],
        "partitions": [_partition_json(coverage) for coverage in inspection.partitions],
        "broken_partitions": list(inspection.broken),
    }


def _flight_json(flight: Flight) -> dict[str, Any]:
    found = flight.georeference
    return {
        "name": flight.name,
        "photographs": found.n_photographs,
        "with_gps": len(found.residuals),
        "captured": list(flight.captured) if flight.captured else None,
        "horizontal_rms_m": found.horizontal_rms_m,
        "horizontal_median_m": found.horizontal_median_m,
        "height_offset_m": found.height_offset_m,
        "height_spread_m": found.height_spread_m,
        "scale": found.scale,
        "turn_deg": found.turn_deg,
        "tilt_deg": found.tilt_deg,
        "findings": [{"level": finding.level, "text": finding.text} for finding in flight.findings],
    }


def _standpoint_json(standpoint: Standpoint) -> dict[str, Any]:
    residual = standpoint.residual
    return {
        "file": standpoint.file,
        "split": standpoint.split,
        "enu_m": list(standpoint.enu_m),
        "height_m": standpoint.height_m,
        "heading_deg": standpoint.heading_deg,
        "off_nadir_deg": standpoint.off_nadir_deg,
        "gps_height_m": standpoint.gps_height_m,
        "gps_minus_camera_m": residual and [residual.east_m, residual.north_m, residual.up_m],
    }


def _partition_json(coverage: PartitionCoverage) -> dict[str, Any]:
    partition = coverage.partition
    return {
        "name": partition.name,
        "how": partition.how,
        "dims": partition.dims,
        "margin": partition.margin,
        "imbalance": coverage.imbalance,
        "experts": [
            {
                "expert": i,
                "centroid_m": partition.centroids[i].tolist(),
                "aabb_m": partition.boxes[i].to_json(),
                "share": expert.share,
                "own_share": expert.own_share,
                "splits": {
                    split: {"photographs": seen.photographs, "pixels": seen.pixels}
                    for split, seen in expert.by_split.items()
                },
            }
            for i, expert in enumerate(coverage.experts)
        ],
        "unseen_photographs": dict(coverage.unseen),
        "came_later": list(coverage.later),
    }

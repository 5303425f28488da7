"""Maps of a scene: one of cameras and GPS, one of each partition; SVG, coloured by the page's style."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from anerf.geometry.boxes import Aabb
from anerf.partition.regions import Partition
from anerf.products.inspection import Inspection, Standpoint
from anerf.products.map_frame import LEFT_PX, TOP_PX, MapFrame, map_svg
from anerf.products.page import N_EXPERT_COLORS, N_SPLIT_COLORS
from anerf.products.region_outlines import region_outlines

_RASTER_PER_PX = 1.5
_DOT_PX = 3
_POINTS_ID, _OBLIQUE_ID, _NADIR_ID = "points", "oblique", "nadir"
# Of cameras: so large where they are few, and so small at least where they are many.
_CAMERA_PX, _SMALLEST_CAMERA_PX = 6.0, 2.5
_NUMBER_PX = 19.0


def map_frame(inspection: Inspection) -> MapFrame:
    """The frame that all maps of a scene share."""
    places = [standpoint.enu_m[:2] for standpoint in inspection.standpoints]
    places += [gps for gps in map(gps_xy, inspection.standpoints) if gps is not None]
    return MapFrame.around(inspection.scene.aabb, np.array(places).reshape(-1, 2))


def gps_xy(standpoint: Standpoint) -> tuple[float, float] | None:
    """Where GPS puts a camera, ENU metres."""
    if standpoint.residual is None:
        return None
    return (
        standpoint.enu_m[0] + standpoint.residual.east_m,
        standpoint.enu_m[1] + standpoint.residual.north_m,
    )


def survey_map(inspection: Inspection, frame: MapFrame) -> str:
    """Points, scene box, cameras and, from each to where GPS puts it, a line. Other maps reuse its parts."""
    standpoints = inspection.standpoints
    drawn = [
        f"<defs>{_camera_shapes(len(standpoints))}</defs>",
        _points(frame, inspection.points_xyz, inspection.points_rgb),
        _box(frame, inspection.scene.aabb, "scenebox"),
        "".join(_gps_line(frame, standpoint) for standpoint in standpoints),
        _cameras(frame, inspection, titled=True),
    ]
    return _map(inspection, frame, "cameras and GPS", drawn)


def partition_map(inspection: Inspection, frame: MapFrame, partition: Partition) -> str:
    """Experts' regions and boxes over the points; belongs on a page with `survey_map`."""
    regions = []
    if partition.dims == 2:
        outlines = region_outlines(partition.centroids[:, :2], inspection.scene.aabb)
        regions = [
            f'<path class="region e{i % N_EXPERT_COLORS}" d="{frame.path(outline)}"/>'
            for i, outline in enumerate(outlines)
            if len(outline)
        ]
    boxes = [_box(frame, box, f"expertbox e{i % N_EXPERT_COLORS}") for i, box in enumerate(partition.boxes)]
    drawn = [
        f'<use href="#{_POINTS_ID}"/>',
        *regions,
        f'<g class="faint">{_cameras(frame, inspection, titled=False)}</g>',
        *boxes,
        _box(frame, inspection.scene.aabb, "scenebox"),
        _numbers(frame, partition),
    ]
    return _map(inspection, frame, f"partition {partition.name}", drawn)


def split_color(inspection: Inspection, split: str) -> str:
    """The class that colours a split's cameras."""
    return f"s{inspection.scene.splits().index(split) % N_SPLIT_COLORS}"


def camera_swatch(kind: str) -> str:
    """A small picture for the legend: `oblique` or `nadir`, as the map shows it."""
    shape = _OBLIQUE_ID if kind == "oblique" else _NADIR_ID
    return f'<svg class="swatch" viewBox="-10 -10 20 20"><use href="#{shape}" transform="scale(1.2)"/></svg>'


def points_png(frame: MapFrame, xyz: Float[np.ndarray, "p 3"], rgb: UInt8[np.ndarray, "p 3"]) -> Image.Image:
    """The points on the map from above, the highest on top, transparent where none is."""
    scale = frame.px_per_m * _RASTER_PER_PX
    width, height = (max(1, round(side * _RASTER_PER_PX)) for side in frame.size_px)
    picture = np.zeros((height + _DOT_PX, width + _DOT_PX, 4), np.uint8)
    column = np.floor((xyz[:, 0] - frame.west_m) * scale).astype(np.int64)
    row = np.floor((frame.north_m - xyz[:, 1]) * scale).astype(np.int64)
    shown = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    order = np.flatnonzero(shown)[np.argsort(xyz[shown, 2], kind="stable")]
    rgba = np.concatenate((rgb[order], np.full((len(order), 1), 255, np.uint8)), axis=1)
    for down in range(_DOT_PX):
        for right in range(_DOT_PX):
            picture[row[order] + down, column[order] + right] = rgba
    return Image.fromarray(picture[:height, :width])


def _points(frame: MapFrame, xyz: Float[np.ndarray, "p 3"], rgb: UInt8[np.ndarray, "p 3"]) -> str:
    # Few colours, or photographs' noise would make the page large.
    colors = points_png(frame, xyz, rgb).quantize(64, method=Image.Quantize.FASTOCTREE)
    data = io.BytesIO()
    colors.save(data, format="PNG", optimize=True)
    width, height = frame.size_px
    return (
        f'<image id="{_POINTS_ID}" class="points" x="{LEFT_PX}" y="{TOP_PX}" width="{width:.1f}" '
        f'height="{height:.1f}" href="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"/>'
    )


def _camera_shapes(n: int) -> str:
    """Both heading north: a dart for a sideways look, a dot with a tick to the picture's top for one down."""
    r = max(_SMALLEST_CAMERA_PX, _CAMERA_PX * min(1.0, (150 / max(n, 1)) ** 0.5))
    dart = f"M0,{-1.5 * r:.2f}L{0.85 * r:.2f},{r:.2f}L0,{0.5 * r:.2f}L{-0.85 * r:.2f},{r:.2f}Z"
    small = 0.62 * r
    dot = (
        f"M{-small:.2f},0A{small:.2f},{small:.2f} 0 1 1 {small:.2f},0A{small:.2f},{small:.2f} 0 1 1 "
        f"{-small:.2f},0ZM{-0.16 * r:.2f},{-small:.2f}V{-1.5 * r:.2f}H{0.16 * r:.2f}V{-small:.2f}Z"
    )
    return f'<path id="{_OBLIQUE_ID}" d="{dart}"/><path id="{_NADIR_ID}" d="{dot}"/>'


def _cameras(frame: MapFrame, inspection: Inspection, *, titled: bool) -> str:
    return "".join(
        _camera(frame, standpoint, split_color(inspection, standpoint.split), titled=titled)
        for standpoint in inspection.standpoints
        if frame.holds(standpoint.enu_m)
    )


def _camera(frame: MapFrame, standpoint: Standpoint, color: str, *, titled: bool) -> str:
    x, y = frame.at(standpoint.enu_m)
    shape = _NADIR_ID if standpoint.is_nadir else _OBLIQUE_ID
    title = ""
    if titled:
        residual = standpoint.residual
        off = "no GPS" if residual is None else f"GPS {residual.horizontal_m:.1f} m off"
        looks = f"{standpoint.off_nadir_deg:.0f}\u00b0 off nadir"
        title = f"<title>{html.escape(f'{standpoint.file} ({standpoint.split}), {looks}, {off}')}</title>"
    return (
        f'<use href="#{shape}" class="camera {color}" transform="translate({x:.1f} {y:.1f}) '
        f'rotate({standpoint.heading_deg:.1f})">{title}</use>'
    )


def _gps_line(frame: MapFrame, standpoint: Standpoint) -> str:
    there = gps_xy(standpoint)
    if there is None:
        return ""
    (x1, y1), (x2, y2) = frame.at(standpoint.enu_m), frame.at(there)
    return (
        f'<line class="gps" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        f'<circle class="gpsend" cx="{x2:.1f}" cy="{y2:.1f}" r="2"/>'
    )


def _box(frame: MapFrame, box: Aabb, kind: str) -> str:
    (x1, y1), (x2, y2) = frame.at((box.lo[0], box.hi[1])), frame.at((box.hi[0], box.lo[1]))
    return f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'


def _numbers(frame: MapFrame, partition: Partition) -> str:
    """Experts' numbers at their centroids; those above each other share a label."""
    spots: dict[tuple[int, int], list[int]] = {}
    for i, centroid in enumerate(partition.centroids):
        x, y = frame.at(centroid)
        spots.setdefault((round(x), round(y)), []).append(i)
    size = max(10.0, _NUMBER_PX * min(1.0, (40 / len(spots)) ** 0.5))
    return "".join(
        f'<text class="number halo e{ids[0] % N_EXPERT_COLORS}" x="{x}" y="{y + size / 3:.1f}" '
        f'font-size="{size:.0f}" text-anchor="middle">{", ".join(map(str, ids))}</text>'
        for (x, y), ids in spots.items()
    )


def _map(inspection: Inspection, frame: MapFrame, what: str, drawn: Sequence[str]) -> str:
    scene = inspection.scene
    label = html.escape(f"Map of {scene.name}: {what}")
    return map_svg(frame, scene.reference, scene.aabb.center[2], label, "\n".join(drawn))

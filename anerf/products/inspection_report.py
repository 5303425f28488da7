"""`inspect.html`: an inspection as one page that needs nothing else."""

import os
from pathlib import Path

import numpy as np

from anerf.errors import InputError
from anerf.products.charts import course_chart, distance_chart, height_chart
from anerf.products.coverage_summary import PartitionCoverage
from anerf.products.inspection import NADIR_WITHIN_DEG, Flight, Inspection
from anerf.products.inspection_words import (
    COVERAGE_COLUMNS,
    FIGURES_MEAN,
    MARKS,
    captured_words,
    coverage_notes,
    figures,
    lens_words,
    seen_words,
    verdict,
    worst_residuals,
)
from anerf.products.map_frame import MapFrame
from anerf.products.page import N_EXPERT_COLORS, facts, page, table, text
from anerf.products.scene_map import (
    camera_swatch,
    gps_xy,
    map_frame,
    partition_map,
    split_color,
    survey_map,
)

REPORT_FILE = "inspect.html"
_WORST = 20
_BAR_PX = 130


def save_report(inspection: Inspection, out: Path) -> None:
    """Writes the page at `out`, whole or not at all; InputError if it cannot be written there."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(report_html(inspection), encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"the report cannot be written to {out} ({error.strerror}); give another file with --out"
        ) from None


def report_html(inspection: Inspection) -> str:
    """The page."""
    frame = map_frame(inspection)
    parts = [
        f"<h1>{text(inspection.scene.name)}</h1>",
        f'<p class="soft">{text(verdict(inspection))}</p>',
        _head(inspection),
        "<h2>Place on Earth</h2>",
        *(_findings(flight, alone=len(inspection.flights) == 1) for flight in inspection.flights),
        _figures(inspection),
        "<h2>Cameras</h2>",
        f"<figure>{survey_map(inspection, frame)}</figure>",
        _legend(inspection),
        _left_off(inspection, frame),
        _heights(inspection),
        "<h2>Experts</h2>",
        *(_partition(inspection, frame, coverage) for coverage in inspection.partitions),
        _no_partitions(inspection),
        *(_residuals(flight) for flight in inspection.flights if flight.georeference.residuals),
    ]
    return page(f"{inspection.scene.name}: scene", "\n".join(part for part in parts if part))


def _head(inspection: Inspection) -> str:
    scene, place = inspection.scene, inspection.scene.reference
    lo, hi, size = scene.aabb.lo, scene.aabb.hi, scene.aabb.size
    box = "<br>".join(
        f"{axis} {lo[i]:.1f} to {hi[i]:.1f} m ({size[i]:.1f} m)"
        for i, axis in enumerate(("east", "north", "up"))
    )
    rows = [
        ("photographs", ", ".join(f"{text(s)} {len(scene.frames_of(s))}" for s in scene.splits())),
        (
            "cameras",
            "<br>".join(
                f"{lens.photographs} by {text(lens_words(lens))} ({text(', '.join(lens.splits))})"
                for lens in inspection.lenses
            ),
        ),
        (
            "captured",
            "<br>".join(
                f"{text(f.name)}: {text(captured_words(f) or 'not recorded')}" for f in inspection.flights
            ),
        ),
        (
            "reference",
            f"{place.latitude_deg:.7f}\u00b0, {place.longitude_deg:.7f}\u00b0, {place.height_m:.2f} m "
            "(WGS 84)",
        ),
        ("projected system", text(scene.crs)),
        ("box", box),
        ("sparse points", _points_words(inspection)),
        ("made by", text(scene.made_by)),
        ("folder", text(scene.root)),
    ]
    return facts(rows)


def _points_words(inspection: Inspection) -> str:
    count, reprojection = len(inspection.points_xyz), inspection.scene.reprojection
    if not count:
        return "none came with the survey"
    if reprojection is None:
        return f"{count:,}"
    return (
        f"{count:,}, {reprojection.scene_px:.2f} px off through these cameras on average, "
        f"{reprojection.model_px:.2f} px as the reconstruction states"
    )


def _findings(flight: Flight, *, alone: bool) -> str:
    lines = "".join(_finding(finding.level, finding.text) for finding in flight.findings)
    head = "" if alone else f"<h3>{text(flight.name)}</h3>"
    return f'{head}<ul class="findings">{lines}</ul>'


def _finding(level: str, words: str) -> str:
    return f'<li class="finding {level}"><b>{MARKS[level]}</b><span>{text(words)}</span></li>'


def _figures(inspection: Inspection) -> str:
    rows = [[text(flight.name), *map(text, figures(flight).values())] for flight in inspection.flights]
    head = ("flight", *figures(inspection.flights[0])) if inspection.flights else ()
    return table(head, rows, range(1, len(head))) + f'<p class="soft">{text(FIGURES_MEAN)}</p>'


def _legend(inspection: Inspection) -> str:
    entries = [
        f'<span><i class="chip {split_color(inspection, split)}"></i>{text(split)}</span>'
        for split in inspection.scene.splits()
    ]
    entries += [
        f"<span>{camera_swatch('oblique')}looks sideways, to where it points</span>",
        f"<span>{camera_swatch('nadir')}looks down (within {NADIR_WITHIN_DEG:.0f}\u00b0), tick to the "
        "picture's top</span>",
    ]
    if any(standpoint.residual for standpoint in inspection.standpoints):
        entries.append('<span><i class="rule" style="color:var(--gps)"></i>from camera to its GPS</span>')
    entries.append('<span><i class="rule"></i>scene box</span>')
    return f'<p class="legend">{"".join(entries)}</p>'


def _left_off(inspection: Inspection, frame: MapFrame) -> str:
    cameras = sum(not frame.holds(standpoint.enu_m) for standpoint in inspection.standpoints)
    fixes = [gps_xy(standpoint) for standpoint in inspection.standpoints]
    outside = sum(there is not None and not frame.holds(there) for there in fixes)
    words = [
        f"{n} {what} too far away for this map."
        for n, what in ((cameras, "cameras stand"), (outside, "GPS positions lie"))
        if n
    ]
    return f"<p>{' '.join(words)}</p>" if words else ""


def _heights(inspection: Inspection) -> str:
    charts = []
    profile, scene = inspection.heights, inspection.scene
    if profile is not None:
        marks = [(scene.aabb.lo[2], "box's floor"), (scene.aabb.hi[2], "box's top")]
        if scene.altitude_range_m[1] > scene.aabb.hi[2]:
            marks.append((scene.altitude_range_m[1], "highest camera"))
        beyond = f" ({profile.beyond} lie beyond)" if profile.beyond else ""
        low, high = scene.altitude_range_m
        caption = f"Sparse points by height{beyond}. Altitude range {low:.1f} to {high:.1f} m."
        charts.append(_figure(height_chart(profile.counts, profile.edges_m, marks), caption))
    for flight in inspection.flights:
        if any(standpoint.gps_height_m is not None for standpoint in flight.standpoints):
            cameras = [standpoint.height_m for standpoint in flight.standpoints]
            gps = [standpoint.gps_height_m for standpoint in flight.standpoints]
            caption = f"Heights of {flight.name}: line, where the cameras stand; dots, what GPS recorded."
            charts.append(_figure(course_chart(cameras, gps), caption))
    return f'<h2>Heights</h2><div class="pair">{"".join(charts)}</div>' if charts else ""


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>{drawn}<figcaption>{text(caption)}</figcaption></figure>"


def _partition(inspection: Inspection, frame: MapFrame, coverage: PartitionCoverage) -> str:
    partition, splits = coverage.partition, inspection.scene.splits()
    highest = max((expert.share or 0.0 for expert in coverage.experts), default=0.0)
    rows = []
    for i, expert in enumerate(coverage.experts):
        seen = [
            "\u2013" if split in coverage.later else seen_words(expert.by_split[split]) for split in splits
        ]
        box = " x ".join(f"{side:.0f}" for side in partition.boxes[i].size)
        shares = ["\u2013", "\u2013", ""]
        if expert.share is not None:
            own = "\u2013" if expert.own_share is None else f"{100 * expert.own_share:.1f} %"
            shares = [own, f"{100 * expert.share:.1f} %", _bar(i, expert.share / highest)]
        rows.append([f'<b class="e{i % N_EXPERT_COLORS}">{i}</b>', box, *seen, *shares])
    head = ["expert", "box, m", *splits, "own part of train", "learned part", ""]
    where = "on the map" if partition.dims == 2 else "in space (boxes from above)"
    notes = "".join(f"<li>{text(note)}</li>" for note in (COVERAGE_COLUMNS, *coverage_notes(coverage)))
    return (
        f"<h3>Partition {text(partition.name)}</h3>"
        f"<p>{text(partition.how)}; {partition.n_experts} experts, each for what is nearest to its centroid "
        f"{where}, margin {partition.margin:g}.</p>"
        f"<figure>{partition_map(inspection, frame, partition)}</figure>"
        f'<p class="legend">{_partition_legend(partition.dims)}</p>'
        f"{table(head, rows, range(1, len(head) - 1))}<ul>{notes}</ul>"
    )


def _partition_legend(dims: int) -> str:
    regions = '<span><i class="chip e0" style="opacity:.45"></i>who is nearest</span>' if dims == 2 else ""
    return f'{regions}<span><i class="rule dashed e0"></i>all that an expert\'s rays meet</span>'


def _bar(expert: int, length: float) -> str:
    width = f"width:{_BAR_PX * length:.0f}px"
    return f'<span class="bars"><i class="share e{expert % N_EXPERT_COLORS}" style="{width}"></i></span>'


def _no_partitions(inspection: Inspection) -> str:
    broken = "".join(_finding("stop", sentence) for sentence in inspection.broken)
    if broken:
        return f'<ul class="findings">{broken}</ul>'
    return "" if inspection.partitions else "<p>The scene is not partitioned yet.</p>"


def _residuals(flight: Flight) -> str:
    split_of = {standpoint.file: standpoint.split for standpoint in flight.standpoints}
    known, rows = flight.georeference.residuals, []
    for residual in worst_residuals(flight, _WORST):
        up = "\u2013" if residual.up_m is None else f"{residual.up_m:+.1f}"
        flat = [f"{value:+.1f}" for value in (residual.east_m, residual.north_m)]
        names = [text(residual.name), text(split_of[residual.name])]
        rows.append([*names, *flat, up, f"{residual.horizontal_m:.1f}"])
    head = ("photograph", "split", "east, m", "north, m", "up, m", "on the map, m")
    shown = f"the worst {len(rows)} of {len(known)}" if len(rows) < len(known) else f"all {len(known)}"
    return (
        f"<h2>GPS minus camera: {text(flight.name)}</h2>"
        f"<figure>{distance_chart(np.array([residual.horizontal_m for residual in known]))}</figure>"
        f'<p class="soft">By photograph, {shown}.</p>{table(head, rows, range(2, 6))}'
    )

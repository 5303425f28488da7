"""`anerf inspect SCENE`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anerf.cli.scene_table import show_scene
from anerf.products.coverage_summary import PartitionCoverage
from anerf.products.inspection import Flight, Inspection, inspect_scene, inspection_json
from anerf.products.inspection_report import REPORT_FILE, save_report
from anerf.products.inspection_words import (
    COVERAGE_COLUMNS,
    MARKS,
    captured_words,
    coverage_notes,
    figures,
    lens_words,
    seen_words,
    verdict,
    worst_residuals,
)
from anerf.scene.scene import load_scene

_WORST = 5
_STYLES = {"stop": "bold red", "warning": "yellow", "note": "cyan"}


def inspect(
    scene: tyro.conf.Positional[Path],
    *,
    partition: str | None = None,
    out: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Shows where a scene's cameras, experts and GPS are, and writes it as one page.

    Args:
        scene: The scene folder.
        partition: Looks at this partition only; by default at all of them.
        out: Where to write the page; by default inspect.html in the scene folder.
        as_json: Writes findings, photographs and coverage as JSON.
    """
    opened = load_scene(scene)
    seen = inspect_scene(opened, partition)
    report = opened.root / REPORT_FILE if out is None else out
    save_report(seen, report)
    if as_json:
        sys.stdout.write(json.dumps({**inspection_json(seen), "report": str(report)}) + "\n")
        return
    show_scene(opened, as_json=False)
    console = Console()
    for lens in seen.lenses:
        console.print(f"{lens.photographs} photographs by {lens_words(lens)}", markup=False, highlight=False)
    for flight in seen.flights:
        _show_flight(console, flight)
    for coverage in seen.partitions:
        _show_partition(console, seen, coverage)
    for sentence in seen.broken:
        _show_finding(console, "stop", sentence)
    end = f"\n{verdict(seen)}; maps and figures: {report}"
    console.print(end, markup=False, highlight=False, soft_wrap=True)


def _show_flight(console: Console, flight: Flight) -> None:
    when = captured_words(flight)
    words = f"{flight.name}: {len(flight.standpoints)} photographs" + (f", captured {when}" if when else "")
    console.print(Text(f"\n{words}", "bold"))
    for finding in flight.findings:
        _show_finding(console, finding.level, finding.text)
    if not flight.georeference.residuals:
        return
    table = Table(*figures(flight))
    table.add_row(*figures(flight).values())
    console.print(table)
    furthest = ", ".join(f"{r.name} {r.horizontal_m:.1f} m" for r in worst_residuals(flight, _WORST))
    console.print(f"furthest from their GPS: {furthest}", markup=False, highlight=False)


def _show_finding(console: Console, level: str, words: str) -> None:
    line = Table.grid(padding=(0, 2))
    line.add_column(width=10)
    line.add_column()
    line.add_row(Text(MARKS[level], _STYLES[level]), Text(words))
    console.print(line)


def _show_partition(console: Console, seen: Inspection, coverage: PartitionCoverage) -> None:
    partition = coverage.partition
    table = Table(
        title=Text(f"partition {partition.name}: {partition.how}, margin {partition.margin:g}"),
        title_justify="left",
    )
    table.add_column("expert", justify="right")
    splits = [split for split in seen.scene.splits() if split not in coverage.later]
    for split in splits:
        table.add_column(Text(split), justify="right")
    table.add_column("own part of train", justify="right")
    table.add_column("learned part", justify="right")
    for i, expert in enumerate(coverage.experts):
        cells = [seen_words(expert.by_split[split]) for split in splits]
        parts = ("" if part is None else f"{100 * part:.1f} %" for part in (expert.own_share, expert.share))
        table.add_row(str(i), *cells, *parts)
    console.print()
    console.print(table)
    for note in (COVERAGE_COLUMNS, *coverage_notes(coverage)):
        console.print(note, markup=False, highlight=False)

"""`anerf bench field`: nanoseconds a sample, beside the machine's floor, and the optimiser's cost."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from anerf.cli.progress import progress_bar

if TYPE_CHECKING:
    from anerf.bench.field_speed import FieldSpeeds, Speed
    from anerf.bench.floor import FloorParts
    from anerf.bench.optimiser_cost import OptimiserRow

FLOOR_IN_WORDS = (
    "floor: multiply-adds of the networks (backward: twice the forward ones, nothing computed anew) at this"
    " machine's rate, plus 8 accesses a level and sample to random rows of a table of that level's size"
    " (forward: read; backward: read, add, write). Samples along rays share rows, so the table's part can be"
    " beaten."
)


def bench_field(*, quick: bool = False, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
    """Times the field backends, forward and backward, beside what this machine can do at best.

    Minutes on two cores; other work on the machine shows in the times, less in their ratios.

    Args:
        quick: Smaller batches and fewer repetitions: less exact.
        as_json: Writes the figures as JSON.
    """
    from anerf.bench import field_speed, optimiser_cost  # bring torch, which --help need not
    from anerf.bench.conditions import conditions, load_average
    from anerf.cli.conditions_line import conditions_line

    before = load_average()
    with progress_bar("field", hidden=as_json) as progress:
        plan = field_speed.QUICK if quick else field_speed.FULL
        speeds = field_speed.measure_field(plan, progress)
    with progress_bar("optimiser", hidden=as_json) as progress:
        plan = optimiser_cost.QUICK if quick else optimiser_cost.FULL
        steps = optimiser_cost.measure_optimiser(plan, progress)
    here = conditions(before)
    if as_json:
        found = {
            "conditions": asdict(here),
            "floors": [asdict(row) for row in speeds.floors],
            "field": [asdict(row) for row in speeds.rows],
            "optimiser": [asdict(row) for row in steps],
        }
        sys.stdout.write(json.dumps(found) + "\n")
        return
    console = Console()
    console.print(_field_table(speeds), FLOOR_IN_WORDS, _optimiser_table(steps), sep="\n")
    console.print(conditions_line(here), highlight=False)


def _field_table(speeds: "FieldSpeeds") -> Table:
    table = _empty_table("field, ns a sample (x floor; the floor as networks + table)")
    table.add_column("table")
    for name in ("threads", "samples"):
        table.add_column(name, justify="right")
    table.add_column("backend")
    for name in ("forward", "forward + backward"):
        table.add_column(name, justify="right")
    for floor in speeds.floors:
        parts = floor.floor.forward, floor.floor.forward_backward
        table.add_row(floor.table, str(floor.threads), "", "floor", *map(_floor_cell, parts), style="bold")
        for row in speeds.rows:
            if (row.table, row.threads) == (floor.table, floor.threads):
                backend = row.backend if row.device == "cpu" else f"{row.backend} on {row.device}"
                speed = _speed_cell(row.forward), _speed_cell(row.forward_backward)
                table.add_row("", "", f"{row.n_samples:,}", backend, *speed)
        table.add_section()
    return table


def _empty_table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _floor_cell(parts: "FloorParts") -> str:
    return f"{parts.networks_ns:,.0f} + {parts.table_ns:,.0f} = {parts.ns:,.0f}"


def _speed_cell(speed: "Speed") -> str:
    ratio = "" if speed.ratio is None else f" ({speed.ratio:.1f})"
    return f"{speed.ns:,.0f}{ratio}"


def _optimiser_table(rows: "tuple[OptimiserRow, ...]") -> Table:
    title = f"optimiser, ms, after a batch of {rows[0].n_samples:,} samples with {rows[0].threads} threads"
    table = _empty_table(title)
    table.add_column("table")
    names = ("floats", "touched", "batch", "Adam on touched lines", "torch Adam (fused) + zero_grad")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        ms = (f"{value:.2f}" for value in (row.batch_ms, row.step_touched_ms, row.dense_adam_ms))
        table.add_row(row.table, f"{row.n_params:,}", f"{row.touched_share:.1%}", *ms)
    return table

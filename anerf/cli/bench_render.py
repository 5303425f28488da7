"""`anerf bench render CHECKPOINT`: milliseconds and PSNR of a picture, by how its rays are sampled."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from anerf.cli.progress import progress_bar
from anerf.errors import InputError

if TYPE_CHECKING:
    from anerf.bench.render_speed import RenderSpeeds


def bench_render(
    checkpoint: tyro.conf.Positional[str],
    *,
    prefix: str = "best",
    width: int = 512,
    height: int = 384,
    samples: tuple[int, ...] = (8, 12, 16),
    march: tuple[float, ...] = (0.5, 1.0, 2.0),
    scene: Path | None = None,
    view: str | None = None,
    frames: int = 5,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Times one picture of a checkpoint on the CPU: whole, by stages, and how good it is.

    Args:
        checkpoint: A job's folder, its checkpoints, or one step's.
        prefix: best, last or step<N>.
        width: Of the picture in pixels; with a scene, at most.
        height: As width.
        samples: Samples a ray by importance: one row each.
        march: Steps of the occupancy march, in cells of the density grid: one row each.
        scene: The scene that the checkpoint was learned on, to render one of its views; by default the view
            goes straight down.
        view: File of the photograph to compare with; by default the first one kept for validation.
        frames: Of how many frames the median is taken.
        as_json: Writes the figures as JSON.
    """
    from anerf.bench.conditions import conditions, load_average  # bring torch, which --help need not
    from anerf.bench.render_speed import RenderPlan, measure_render
    from anerf.bench.views import photographed_view, view_from_above
    from anerf.checkpoint.load import load_scene_model
    from anerf.cli.conditions_line import conditions_line
    from anerf.jobs.places import find_checkpoint
    from anerf.scene.scene import load_scene

    _check(width, height, samples, march, frames)
    if view is not None and scene is None:
        raise InputError(f"--view {view} belongs to a scene: give it with --scene")
    before = load_average()
    model = load_scene_model(find_checkpoint(checkpoint, prefix), "last")
    if scene is None:
        seen = view_from_above(model, width, height)
    else:
        seen = photographed_view(model, load_scene(scene), view, width, height)
    with progress_bar("rounds", hidden=as_json) as progress:
        plan = RenderPlan(samples, march, rounds=frames)
        speeds = measure_render(model, seen, plan, progress)
    here = conditions(before)
    if as_json:
        sys.stdout.write(json.dumps({"conditions": asdict(here), **asdict(speeds)}) + "\n")
        return
    console = Console()
    console.print(_speed_table(speeds), _stage_table(speeds), _notes(speeds), sep="\n")
    console.print(conditions_line(here), highlight=False)


def _check(width: int, height: int, samples: tuple[int, ...], march: tuple[float, ...], frames: int) -> None:
    numbers = {"--width": (width,), "--height": (height,), "--frames": (frames,)}
    numbers |= {"--samples": samples, "--march": march}
    for option, values in numbers.items():
        if not all(value > 0 for value in values):
            raise InputError(f"{option} {' '.join(map(str, values))} is not possible: give positive numbers")


def _speed_table(speeds: "RenderSpeeds") -> Table:
    title = f"{speeds.view}: {speeds.width} x {speeds.height}, {speeds.experts} experts"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("sampling", no_wrap=True)
    for name in ("ms", "samples a ray", "dB to photograph", "dB to reference"):
        table.add_column(name, justify="right")
    for row in speeds.rows:
        scores = ("" if v is None else f"{v:.2f}" for v in (row.photograph_psnr_db, row.reference_psnr_db))
        table.add_row(row.sampling, f"{row.ms:,.0f}", f"{row.samples_per_ray:.1f}", *scores)
    return table


def _stage_table(speeds: "RenderSpeeds") -> Table:
    table = Table(
        title="shares of the time",
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("sampling", no_wrap=True)
    for name in speeds.rows[0].stages:
        table.add_column(name, justify="right", no_wrap=True)
    for row in speeds.rows:
        table.add_row(row.sampling, *(f"{share:.0%}" for share in row.stages.values()))
    return table


def _notes(speeds: "RenderSpeeds") -> str:
    frames = speeds.rows[0].frames
    return (
        "A sample counts twice where two experts blend. dB: PSNR in sRGB. A cell of the density grid is"
        f" {speeds.cell_m:.2g} m. Median of {frames} frames, the reference of one; shares are those of one"
        " more frame each."
    )

"""`anerf bench quality SCENE`: dB after so many seconds of training, and of adapting to a later flight."""

import csv
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from anerf.errors import InputError

if TYPE_CHECKING:
    from anerf.bench.quality import Measured


def bench_quality(
    scene: tyro.conf.Positional[Path],
    *,
    partition: str | None = None,
    train_s: tuple[float, ...] = (60, 300, 1200),
    batch: str | None = None,
    adapt_s: tuple[float, ...] = (10, 30),
    seeds: int = 3,
    also_at: tuple[float, ...] = (),
    job: Path | None = None,
    adapt_job: Path | None = None,
    curve: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Trains and adapts within budgets of computing time and tells how good the pictures are.

    Hours on two cores with the default budgets. Budgets are CPU seconds divided by the number of threads, so
    that other work on the machine hardly counts.

    Args:
        scene: A scene folder.
        partition: Its partition; not needed where there is only one.
        train_s: Budgets of training, seconds; each is a training of its own.
        batch: A later flight in the scene: taken up from the shortest training, measured on its held-out
            views, and compared with learning it from nothing. By default the only one there is.
        adapt_s: Budgets of adaptation, seconds.
        seeds: How many times, with seeds 0, 1, 2, …; medians are shown.
        also_at: Further sizes at which trained experts are measured, as the job field `downscale`.
        job: Fields of a training job (JSON) that replace those of the bench's own recipe.
        adapt_job: Fields of an eval job, likewise.
        curve: A CSV file to write, one line for each measurement.
        as_json: Writes all measurements as JSON.
    """
    from anerf.bench.quality_plan import QualityPlan, measure_quality  # brings torch, which --help need not

    plan = QualityPlan(
        scene, partition, tuple(sorted(train_s)), batch, tuple(sorted(adapt_s)), seeds, also_at
    )
    console = Console(stderr=True)
    with console.status("starting") as status:
        measured = measure_quality(plan, _fields(job), _fields(adapt_job), status.update)
    if curve is not None:
        _write_curve(curve, measured)
    if as_json:
        sys.stdout.write(json.dumps([asdict(point) for point in measured]) + "\n")
    else:
        Console().print(_table(measured), _NOTES, sep="\n")


_SCORES = MappingProxyType(
    {"psnr_db": ".2f", "mean_look_psnr_db": ".2f", "fitted_psnr_db": ".2f", "ssim": ".3f"}
)
_NOTES = (
    "dB: PSNR in sRGB, mean over views, median over seeds; masks applied. Views are exposed as their camera"
    " probably would (nothing of the photograph itself is used); `mean look` is without that, `fitted` after"
    " the best affine colour map. old: the survey's validation views; new: the later flight's held-out"
    " ones."
)


def _fields(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} holds no JSON object of job fields ({error})") from None
    if not isinstance(fields, dict):
        raise InputError(f"{file} holds no JSON object of job fields")
    return fields


def _write_curve(file: Path, measured: Sequence["Measured"]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        scores = [f"{role}_{name}" for role in ("old", "new") for name in asdict(measured[0].old)]
        writer.writerow(["what", "seed", "budget_s", "used_s", "steps", *scores])
        for point in measured:
            values = list(asdict(point.old).values())
            values += list(asdict(point.new).values()) if point.new else [""] * len(values)
            writer.writerow([point.what, point.seed, point.budget_s, point.used_s, point.steps, *values])


def _table(measured: Sequence["Measured"]) -> Table:
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for name in ("used s", "steps", "views", "dB", "mean look", "fitted", "SSIM"):
        table.add_column(name, justify="right", no_wrap=True)
    for kind in dict.fromkeys((point.what, point.budget_s) for point in measured):
        points = [point for point in measured if (point.what, point.budget_s) == kind]
        effort = [_median(points, lambda p: p.used_s, ".0f"), _median(points, lambda p: p.steps, ".0f")]
        row = [f"{kind[0]} {kind[1]:g} s", *effort]
        for role in ("old", "new"):
            scores = [getattr(point, role) for point in points]
            if None in scores:
                continue
            cells = [_median(scores, lambda s, n=name: getattr(s, n), form) for name, form in _SCORES.items()]
            table.add_row(*row, role, *cells)
            row = ["", "", ""]
    return table


def _median(points: Sequence[Any], of: Callable[[Any], float], form: str) -> str:
    return format(statistics.median(of(point) for point in points), form)

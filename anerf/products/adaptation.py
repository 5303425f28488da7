"""The picture sheet of an adaptation: some of its views before and after, from its pictures and its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from anerf.products.renders import read_photograph, read_render
from anerf.products.sheet import ViewComparison, comparison_sheet
from anerf.products.tables import MetricRow


@dataclass(frozen=True)
class MeasuredView:
    """What one view scored before and after adapting."""

    before: MetricRow
    after: MetricRow


def measured_views(rows: Sequence[MetricRow]) -> list[MeasuredView]:
    """Each view with its first and its last measurement (by `tto`), in the order of names."""
    of_view: dict[str, list[MetricRow]] = {}
    for row in sorted(rows, key=lambda row: (row.view, row.tto)):
        of_view.setdefault(row.view, []).append(row)
    return [MeasuredView(measured[0], measured[-1]) for measured in of_view.values()]


def telling_views(views: Sequence[MeasuredView]) -> list[tuple[str, MeasuredView]]:
    """Worst, median and best of the new views (by PSNR after adapting) and one old view, each with its name.

    None appears twice: two new views are the worst and the best, a single one is shown as `new`.
    """
    new = sorted((v for v in views if v.after.role == "new"), key=lambda view: view.after.psnr_db)
    old = [v for v in views if v.after.role == "old"][:1]
    match new:
        case []:
            told = []
        case [only]:
            told = [("new", only)]
        case [worst, best]:
            told = [("worst new", worst), ("best new", best)]
        case _:
            median = new[(len(new) - 1) // 2]
            told = [("worst new", new[0]), ("median new", median), ("best new", new[-1])]
    return [(f"{what} view", view) for what, view in (*told, *(("old", view) for view in old))]


def adaptation_sheet(
    title: str, rendered: Path, views: Sequence[tuple[str, MeasuredView]], tile_width: int = 320
) -> Image.Image:
    """A row for each of `views`, named by the words before it; pictures come from the folder `rendered`.

    Raises:
        ValueError: there are no views.
        OSError: a picture is missing.
    """
    return comparison_sheet(title, [_comparison(rendered, *view) for view in views], tile_width)


def _comparison(rendered: Path, what: str, view: MeasuredView) -> ViewComparison:
    name = view.after.view
    before, depth_before_m = read_render(rendered, name, view.before.tto)
    after, depth_after_m = read_render(rendered, name, view.after.tto)
    return ViewComparison(
        title=f"{name}: {what}",
        photograph=read_photograph(rendered, name),
        before=before,
        after=after,
        depth_before_m=depth_before_m,
        depth_after_m=depth_after_m,
        before_caption=_quality(view.before),
        after_caption=_quality(view.after),
        depth_before_caption=_depth_error(view.before),
        depth_after_caption=_depth_error(view.after),
    )


def _quality(row: MetricRow) -> str:
    inside = "" if row.psnr_changed_db is None else f", where it changed {row.psnr_changed_db:.1f} dB"
    return f"PSNR {row.psnr_db:.1f} dB{inside}"


def _depth_error(row: MetricRow) -> str:
    if row.depth_median_m is None:
        return ""
    inside = (
        "" if row.depth_changed_median_m is None else f", where it changed {row.depth_changed_median_m:.2f} m"
    )
    return f"median error {row.depth_median_m:.2f} m{inside}"

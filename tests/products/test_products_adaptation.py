"""Which views an adaptation shows, and that each picture stands where its column says."""

from pathlib import Path

import numpy as np
import pytest

from anerf.learn.evaluate import ScoredView, ViewScore
from anerf.products.adaptation import adaptation_sheet, measured_views, telling_views
from anerf.products.renders import read_photograph, read_render, save_view
from anerf.products.tables import MetricRow
from anerf.render.picture import Picture


def _row(view: str, psnr_db: float, role: str = "new", tto: int = 8) -> MetricRow:
    return MetricRow(100, tto, "after", view, psnr_db, 0.5, role=role)


def _save(folder: Path, file: str, tto: int, grey: float, depth_m: float) -> None:
    shape = (12, 16)
    rgb = np.full((*shape, 3), grey, np.float32)
    depth = np.full(shape, depth_m, np.float32)
    picture = Picture(rgb, depth, np.ones(shape, np.float32), np.zeros(shape, np.int16))
    score = ViewScore(
        file=file, split="after", role="new", tto=tto, psnr_db=20, mean_look_psnr_db=20, fitted_psnr_db=20,
        ssim=0.5, lpips=None, seconds=0.1,
    )  # fmt: skip
    save_view(folder, ScoredView(score, picture, np.full((*shape, 3), 0.2, np.float32)))


def test_a_view_is_its_first_and_last_measurement() -> None:
    rows = [_row("b", 21, tto=16), _row("a", 12, tto=0), _row("b", 11, tto=0), _row("b", 20, tto=4)]
    views = measured_views(rows)
    assert [(v.before.view, v.before.tto, v.after.tto) for v in views] == [("a", 0, 0), ("b", 0, 16)]
    assert (views[1].before.psnr_db, views[1].after.psnr_db) == (11, 21)


def test_the_worst_the_median_the_best_and_one_old_view() -> None:
    rows = [_row(f"{i}", psnr_db) for i, psnr_db in enumerate((25, 19, 22, 30, 21))]
    rows += [_row("old1", 40, "old"), _row("old2", 10, "old")]
    told = telling_views(measured_views(rows))
    assert [(what, view.after.view) for what, view in told] == [
        ("worst new view", "1"), ("median new view", "2"), ("best new view", "3"), ("old view", "old1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("n", "what"),
    [
        (0, []),
        (1, ["new view"]),
        (2, ["worst new view", "best new view"]),
        (4, ["worst new view", "median new view", "best new view"]),
    ],
)
def test_no_view_is_shown_twice(n: int, what: list[str]) -> None:
    told = telling_views(measured_views([_row(f"{i}", 20 + i) for i in range(n)]))
    assert [word for word, _ in told] == what
    assert len({view.after.view for _, view in told}) == len(what)


def test_views_of_two_flights_with_one_name_keep_their_own_pictures(tmp_path: Path) -> None:
    _save(tmp_path, "images/0001.jpg", 4, 0.4, 50.0)
    _save(tmp_path, "images/after/0001.jpg", 4, 0.6, 60.0)
    for view, grey, depth_m in (("0001.jpg", 0.4, 50), ("after/0001.jpg", 0.6, 60)):
        rgb, depth = read_render(tmp_path, view, 4)
        assert rgb == pytest.approx(grey, abs=1e-3)
        assert (depth.dtype, depth.min(), depth.max()) == (np.float32, depth_m, depth_m)
        assert read_photograph(tmp_path, view) == pytest.approx(0.2, abs=1e-3)


def test_the_sheet_shows_first_and_last(tmp_path: Path) -> None:
    for tto, grey in ((0, 0.8), (2, 0.6), (8, 0.4)):
        _save(tmp_path, "images/after/1.jpg", tto, grey, 50.0)
    rows = [_row("after/1.jpg", 20, tto=tto) for tto in (0, 2, 8)]
    sheet = adaptation_sheet("Title", tmp_path, telling_views(measured_views(rows)), tile_width=80)
    y = 16 + 2 * 20 + 8 + 20 + 30  # margin, title and heads, gap, row's title, half a tile
    greys = [np.asarray(sheet)[y, 16 + 88 * column + 40].tolist() for column in range(3)]
    assert greys == [[51] * 3, [204] * 3, [102] * 3]


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"pred_tto8.1\.png"):
        adaptation_sheet("Title", tmp_path, [("new view", measured_views([_row("1.jpg", 20)])[0])])

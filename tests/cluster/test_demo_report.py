"""What the demo tells at its end, from the folder of an adaptation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from anerf.learn.evaluate import ScoredView, ViewScore, mean_scores
from anerf.products.adaptation import MeasuredView
from anerf.products.renders import save_view
from anerf.products.tables import MetricRow, save_metrics
from anerf.render.picture import Picture
from anerf.scene.scene import Scene
from anerf.scene.truth import read_truth
from cluster.demo_report import SHEET_VIEWS, Timing, _most_changed, report


def _score(file: str, role: str, tto: int) -> ViewScore:
    better = tto / 8
    return ViewScore(
        file=file, split="after" if role == "new" else "val", role=role, tto=tto, psnr_db=15 + 5 * better,
        mean_look_psnr_db=15, fitted_psnr_db=20, ssim=0.5, lpips=None, seconds=0.1, depth_median_m=2 - better,
        depth_changed_median_m=4 - 3.5 * better, psnr_changed_db=12 + 9 * better,
        psnr_unchanged_db=25 - 0.2 * better,
    )  # fmt: skip


@pytest.fixture
def measured(tiny_scene: Scene, tmp_path: Path) -> dict[int, list[ViewScore]]:
    """Scores of the later flight's views and of an old one, before and after; the job's folder is written."""
    grey = np.full((72, 96, 3), 0.5, np.float32)
    flat = np.full((72, 96), 60, np.float32)
    picture = Picture(grey, flat, np.ones_like(flat), np.zeros((72, 96), np.int16))
    views = [(frame.file, "new") for frame in tiny_scene.frames_of("after")]
    views.append((tiny_scene.frames_of("val")[0].file, "old"))
    scores = {tto: [_score(file, role, tto) for file, role in views] for tto in (0, 8)}
    curve = []
    for tto, of_all in scores.items():
        for score in of_all:
            save_view(tmp_path / "adapt" / "rendered", ScoredView(score, picture, grey))
        roles = {role: mean_scores([s for s in of_all if s.role == role]) for role in ("new", "old")}
        curve.append({"tto": tto, "adapt_s": 2.0 * tto, **roles})
        rows = [MetricRow(100, s.tto, s.split, s.view, s.psnr_db, s.ssim, role=s.role) for s in of_all]
        save_metrics(tmp_path / "adapt", rows)
    (tmp_path / "adapt" / "summary.json").write_text(json.dumps({"curve": curve}))
    return scores


def test_the_report_tells_errors_inside_and_losses_outside(
    measured, tiny_scene: Scene, tmp_path: Path
) -> None:
    console = Console(record=True, width=120)
    report(console, tmp_path, tiny_scene.root, "train", "adapt", [Timing("train", 3.0)])
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["changed_depth_median_m"] == {"before": 4, "after": 0.5}
    assert figures["changed_psnr_db"] == {"before": 12, "after": 21}
    assert figures["old_unchanged_psnr_db"] == {"before": 25, "after": 24.8}
    shown = [line.split("│") for line in console.export_text().splitlines() if "│" in line]
    table = [[cell.strip() for cell in line[1:-1]] for line in shown]
    assert ["", "depth error", "4 m", "0.5 m", "-3.5 m"] in table
    assert ["outside what then changed", "PSNR", "25 dB", "24.8 dB", "-0.2 dB"] in table
    assert (tmp_path / "sheet.png").is_file()


def test_the_sheet_shows_the_new_views_that_changed_most(measured, tiny_scene: Scene) -> None:
    rows = [MetricRow(100, 8, s.split, s.view, s.psnr_db, s.ssim, role=s.role) for s in measured[8]]
    told = _most_changed(tiny_scene, [MeasuredView(replace(row, tto=0), row) for row in rows])
    frames = {frame.file: frame for frame in tiny_scene.frames}
    shares = {}
    for score in measured[8][:-1]:
        changed = read_truth(tiny_scene, frames[score.file], frames[score.file].camera).changed
        assert changed is not None
        shares[score.view] = changed.mean()
    assert [view.after.view for _, view in told] == sorted(shares, key=lambda v: -shares[v])[:SHEET_VIEWS]

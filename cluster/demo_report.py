"""What the demo shows at its end: a table, a picture sheet, and the figures in a file."""

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anerf.errors import StackError
from anerf.jobs.folder import write_json_atomically
from anerf.products.adaptation import MeasuredView, adaptation_sheet, measured_views
from anerf.products.sheet import save_picture
from anerf.products.tables import read_metrics
from anerf.scene.scene import Scene, load_scene
from anerf.scene.truth import read_truth

SHEET_VIEWS = 4
# What the table shows: where, which score, of which views (role and name in the job's curve), unit.
_ROWS = (
    ("held-out views after the event", "PSNR", "new", "psnr_db", "dB"),
    ("", "SSIM", "new", "ssim", ""),
    ("", "LPIPS", "new", "lpips", ""),
    ("", "depth error", "new", "depth_median_m", "m"),
    ("  inside the changed area", "PSNR", "new", "psnr_changed_db", "dB"),
    ("", "depth error", "new", "depth_changed_median_m", "m"),
    ("  outside it", "PSNR", "new", "psnr_unchanged_db", "dB"),
    ("views before the event", "PSNR", "old", "psnr_db", "dB"),
    ("", "depth error", "old", "depth_median_m", "m"),
    ("  outside what then changed", "PSNR", "old", "psnr_unchanged_db", "dB"),
)
# What `report.json` repeats from the curve: its name there, role, score.
_FIGURES = (
    ("changed_psnr_db", "new", "psnr_changed_db"),
    ("changed_depth_median_m", "new", "depth_changed_median_m"),
    ("unchanged_psnr_db", "new", "psnr_unchanged_db"),
    ("old_unchanged_psnr_db", "old", "psnr_unchanged_db"),
)


@dataclass(frozen=True)
class Timing:
    """How long a step of the demo took."""

    what: str
    seconds: float


def ask_for_picture(http_port: int | None, out: Path, job_id: str) -> Path:
    """A bird's-eye picture of the adapted scene from `POST /render`, saved as `<out>/http.jpg`.

    Raises:
        StackError: the endpoint did not answer with a picture.
    """
    base = f"http://127.0.0.1:{http_port}"
    entries: Any = json.load(urllib.request.urlopen(f"{base}/scenes", timeout=60))
    entry = next((e for e in entries if e["checkpoint"] == job_id), None)
    if entry is None or entry["reference"] is None:
        raise StackError(f"GET {base}/scenes does not list {job_id}: see the render endpoint's log")
    (west, south, low), (east, north, _) = entry["box"]
    # The whole block from the south, 35 degrees above the horizon.
    height_m, back_m = 0.55 * (north - south), 0.8 * (north - south)
    pose = look_at_pose(
        ((west + east) / 2, south - back_m + 0.5 * (north - south), low + height_m),
        ((west + east) / 2, (south + north) / 2, low),
    )
    body = {
        "checkpoint": job_id,
        "c2w": pose,
        "fov_y_deg": 50,
        "width": 640,
        "height": 480,
        "samples": 24,
        "flight": "after",
        "format": "jpeg",
    }
    request = urllib.request.Request(
        f"{base}/render", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        path = out / "http.jpg"
        path.write_bytes(answer.read())
    return path


def look_at_pose(eye: tuple[float, float, float], target: tuple[float, float, float]) -> list[list[float]]:
    """Camera-to-world pose (3 x 4, ENU metres) as JSON wants it."""
    from anerf.geometry.rays import look_at

    return look_at(eye, target).tolist()


def report(
    console: Console, out: Path, scene_root: Path, train_id: str, adapt_id: str, timings: list[Timing]
) -> None:
    """Print the tables, write `sheet.png` and `report.json` below `out`."""
    summary = json.loads((out / adapt_id / "summary.json").read_text(encoding="utf-8"))
    before, after = summary["curve"][0], summary["curve"][-1]
    table = Table(title=f"Adaptation: {after['tto']} steps in {after['adapt_s']:.0f} s")
    for column in ("measured on", "score", "before", "after", "change"):
        table.add_column(column, justify="left" if column in ("measured on", "score") else "right")
    for where, score, role, name, unit in _ROWS:
        old, new = before.get(role, {}).get(name), after.get(role, {}).get(name)
        if old is not None and new is not None:
            table.add_row(where, score, f"{old:.3g} {unit}", f"{new:.3g} {unit}", f"{new - old:+.3g} {unit}")
    console.print(table)
    times = Table(title="Time for each step")
    times.add_column("step")
    times.add_column("seconds", justify="right")
    for timing in timings:
        times.add_row(timing.what, f"{timing.seconds:.1f}")
    times.add_row("together", f"{sum(t.seconds for t in timings):.1f}", style="bold")
    console.print(times)
    rows = [row for row in read_metrics(out / adapt_id) if row.tto in (before["tto"], after["tto"])]
    sheet = adaptation_sheet(
        f"The event and what the experts made of it: {after['tto']} steps of adaptation",
        out / adapt_id / "rendered",
        _most_changed(load_scene(scene_root), measured_views(rows)),
    )
    save_picture(out / "sheet.png", sheet)
    figures = {
        "train": train_id,
        "adapt": adapt_id,
        "curve": summary["curve"],
        **{
            name: {"before": before[role].get(score), "after": after[role].get(score)}
            for name, role, score in _FIGURES
        },
        "timings": [asdict(timing) for timing in timings],
    }
    write_json_atomically(out / "report.json", figures)
    console.print(f"Look at {out / 'sheet.png'}; the figures are in {out / 'report.json'}", highlight=False)


def _most_changed(scene: Scene, views: Sequence[MeasuredView]) -> list[tuple[str, MeasuredView]]:
    """The new views in which the event changed most, and how much of them."""
    frames = {frame.file: frame for frame in scene.frames}
    shares = []
    for view in views:
        frame = frames[f"images/{view.after.view}"]
        changed = read_truth(scene, frame, frame.camera).changed
        if view.after.role == "new" and changed is not None:
            shares.append((float(changed.mean()), view))
    shares.sort(key=lambda item: -item[0])
    return [
        (f"held out, never adapted on; the event changed {100 * share:.0f} % of it", view)
        for share, view in shares[:SHEET_VIEWS]
    ]

"""What the demo shows at its end: a table, a picture sheet, and the figures in a file."""

import json
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from rich.console import Console
from rich.table import Table

from anerf.errors import StackError
from anerf.jobs.folder import write_json_atomically
from anerf.learn.metrics import psnr
from anerf.products.sheet import ViewComparison, comparison_sheet, save_picture

SHEET_VIEWS = 4
MIN_CHANGED_PX = 200


@dataclass(frozen=True)
class Timing:
    """How long a step of the demo took."""

    what: str
    seconds: float


@dataclass(frozen=True)
class MeasuredView:
    """A held-out view of the after-flight before and after adaptation, with the true mask of what changed."""

    stem: str
    truth: Float[np.ndarray, "h w 3"]
    before: Float[np.ndarray, "h w 3"]
    after: Float[np.ndarray, "h w 3"]
    depth_m: Float[np.ndarray, "h w"]
    changed: Bool[np.ndarray, "h w"]

    def changed_psnr_db(self) -> tuple[float, float]:
        """PSNR before and after, inside the changed area."""
        return psnr(self.before, self.truth, self.changed), psnr(self.after, self.truth, self.changed)

    def unchanged_psnr_db(self) -> tuple[float, float]:
        """PSNR before and after, outside it."""
        return psnr(self.before, self.truth, ~self.changed), psnr(self.after, self.truth, ~self.changed)


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
    console: Console, out: Path, survey: Path, train_id: str, adapt_id: str, timings: list[Timing]
) -> None:
    """Print the tables, write `sheet.png` and `report.json` below `out`."""
    summary = json.loads((out / adapt_id / "summary.json").read_text(encoding="utf-8"))
    before, after = summary["curve"][0], summary["curve"][-1]
    views = _views(out / adapt_id / "rendered", survey, summary["measured_on"], after["tto"])
    touched = [view for view in views if view.changed.sum() >= MIN_CHANGED_PX]
    changed = np.array([view.changed_psnr_db() for view in touched])
    unchanged = np.array([view.unchanged_psnr_db() for view in views])
    rows = [
        ("held-out views after the event", "PSNR", before["new"]["psnr_db"], after["new"]["psnr_db"], "dB"),
        ("", "SSIM", before["new"]["ssim"], after["new"]["ssim"], ""),
        ("", "LPIPS", before["new"].get("lpips"), after["new"].get("lpips"), ""),
        ("  inside the changed area", "PSNR", changed[:, 0].mean(), changed[:, 1].mean(), "dB"),
        ("  outside it", "PSNR", unchanged[:, 0].mean(), unchanged[:, 1].mean(), "dB"),
    ]
    table = Table(title=f"Adaptation: {after['tto']} steps in {after['adapt_s']:.0f} s")
    for column in ("measured on", "score", "before", "after", "change"):
        table.add_column(column, justify="left" if column in ("measured on", "score") else "right")
    for where, score, old, new, unit in rows:
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
    shown = sorted(touched, key=lambda view: -int(view.changed.sum()))[:SHEET_VIEWS]
    sheet = comparison_sheet(
        f"The event and what the experts made of it: {after['tto']} steps of adaptation",
        [_row(v) for v in shown],
    )
    save_picture(out / "sheet.png", sheet)
    figures = {
        "train": train_id,
        "adapt": adapt_id,
        "curve": summary["curve"],
        "changed_psnr_db": {"before": float(changed[:, 0].mean()), "after": float(changed[:, 1].mean())},
        "unchanged_psnr_db": {
            "before": float(unchanged[:, 0].mean()),
            "after": float(unchanged[:, 1].mean()),
        },
        "timings": [asdict(timing) for timing in timings],
    }
    write_json_atomically(out / "report.json", figures)
    console.print(f"Look at {out / 'sheet.png'}; the figures are in {out / 'report.json'}", highlight=False)


def _views(rendered: Path, survey: Path, files: list[str], tto: int) -> list[MeasuredView]:
    views = []
    for stem in (Path(file).stem for file in files):
        with Image.open(survey / "truth" / "changed" / f"{stem}.png") as picture:
            changed = np.asarray(picture.convert("L")) > 127
        views.append(
            MeasuredView(
                stem,
                _picture(rendered / "gt" / f"{stem}.png"),
                _picture(rendered / "pred_tto0" / f"{stem}.png"),
                _picture(rendered / f"pred_tto{tto}" / f"{stem}.png"),
                np.load(rendered / f"depth_tto{tto}" / f"{stem}.npy", allow_pickle=False),
                changed,
            )
        )
    return views


def _picture(path: Path) -> Float[np.ndarray, "h w 3"]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _row(view: MeasuredView) -> ViewComparison:
    before_db, after_db = view.changed_psnr_db()
    return ViewComparison(
        title=f"{view.stem}: held out, never adapted on",
        truth=view.truth,
        before=view.before,
        after=view.after,
        depth_m=view.depth_m,
        opacity=np.ones_like(view.depth_m),
        truth_caption=f"{100 * view.changed.mean():.0f} % of the picture changed",
        before_caption=f"changed area: PSNR {before_db:.1f} dB",
        after_caption=f"changed area: PSNR {after_db:.1f} dB",
    )

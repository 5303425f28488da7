"""`metrics.parquet` and `metrics.csv` of a job: one row a view and measurement."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from anerf.errors import InputError

PARQUET, CSV = "metrics.parquet", "metrics.csv"


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """How one view came out, at one step of training or after `tto` steps of adaptation.

    `split` says from where the view is (`val`, or a flight's tag), `role` what it was to an adaptation (`new`
    or `old`), `view` is the photograph's path below the scene's `images/`. The other figures are those of a
    `ViewScore`; None where nobody knows.
    """

    step: int
    tto: int
    split: str
    view: str
    psnr_db: float
    ssim: float
    lpips: float | None = None
    depth_median_m: float | None = None
    depth_mean_m: float | None = None
    depth_changed_median_m: float | None = None
    psnr_changed_db: float | None = None
    psnr_unchanged_db: float | None = None
    role: str | None = None
    render_s: float | None = None
    color_space: str = "srgb"

    @property
    def key(self) -> tuple[int, int, str, str]:
        """What a second measurement of the same thing replaces."""
        return self.step, self.tto, self.split, self.view


_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("tto", pa.int64()),
        ("split", pa.string()),
        ("view", pa.string()),
        ("psnr_db", pa.float64()),
        ("ssim", pa.float64()),
        ("lpips", pa.float64()),
        ("depth_median_m", pa.float64()),
        ("depth_mean_m", pa.float64()),
        ("depth_changed_median_m", pa.float64()),
        ("psnr_changed_db", pa.float64()),
        ("psnr_unchanged_db", pa.float64()),
        ("role", pa.string()),
        ("render_s", pa.float64()),
        ("color_space", pa.string()),
    ]
)


def save_metrics(folder: Path, rows: Iterable[MetricRow]) -> None:
    """Add `rows` to the job's table in `folder`.

    A measurement made again (by a resumed job) replaces the old one. Both files are replaced atomically.
    """
    merged = {row.key: row for row in (*read_metrics(folder), *rows)}
    ordered = [merged[key] for key in sorted(merged)]
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in ordered], schema=_SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in ((PARQUET, pq.write_table), (CSV, pacsv.write_csv)):
        partial = folder / f".{name}.{os.getpid()}.part"
        write(table, partial)
        partial.replace(folder / name)


def read_metrics(folder: Path) -> list[MetricRow]:
    """The rows in the job's table; none where there is no table yet.

    Raises:
        InputError: the table is damaged or not one of ours.
    """
    path = folder / PARQUET
    if not path.is_file():
        return []
    try:
        return [MetricRow(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): delete it, the next evaluation writes it anew."
        ) from error

"""The metrics table."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anerf.errors import InputError
from anerf.products.tables import MetricRow, read_metrics, save_metrics


def test_rows_come_back_from_parquet_and_csv(tmp_path: Path) -> None:
    rows = [
        MetricRow(200, 0, "after", "b.jpg", 21.5, 0.7),
        MetricRow(
            200,
            16,
            "after",
            "after/a,1.jpg",
            25.25,
            0.8,
            0.31,
            depth_median_m=0.42,
            psnr_changed_db=19.0,
            role="new",
        ),
    ]
    save_metrics(tmp_path, rows)
    assert read_metrics(tmp_path) == rows
    with (tmp_path / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["view"] for line in lines] == ["b.jpg", "after/a,1.jpg"]
    assert float(lines[1]["psnr_changed_db"]) == 19.0
    assert (lines[1]["depth_median_m"], lines[1]["role"], lines[0]["depth_median_m"]) == ("0.42", "new", "")
    assert lines[0]["lpips"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.parquet"]


def test_a_table_of_before_depth_was_measured_is_read(tmp_path: Path) -> None:
    save_metrics(tmp_path, [MetricRow(200, 0, "val", "b.jpg", 21.5, 0.7)])
    table = pq.read_table(tmp_path / "metrics.parquet")
    pq.write_table(table.drop_columns(["depth_median_m", "role"]), tmp_path / "metrics.parquet")
    assert read_metrics(tmp_path) == [MetricRow(200, 0, "val", "b.jpg", 21.5, 0.7)]


def test_a_measurement_made_again_replaces_the_old_one(tmp_path: Path) -> None:
    save_metrics(
        tmp_path, [MetricRow(100, 0, "val", "a.jpg", 20, 0.5), MetricRow(200, 0, "val", "a.jpg", 21, 0.6)]
    )
    save_metrics(
        tmp_path, [MetricRow(200, 0, "val", "a.jpg", 22, 0.6), MetricRow(300, 0, "val", "a.jpg", 23, 0.7)]
    )
    assert [(row.step, row.psnr_db) for row in read_metrics(tmp_path)] == [(100, 20), (200, 22), (300, 23)]


def test_no_table_is_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "nothing") == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not a table"])
def test_a_damaged_table_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metrics.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"metrics\.parquet cannot be read"):
        read_metrics(tmp_path)

"""The curve of an adaptation as a table and as a plot."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import pytest

from anerf.products.curve import CurvePoint, curve_svg, save_curve

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [
    CurvePoint(0, 0.0, "new", {"psnr_db": 15.0, "ssim": 0.5, "depth_median_m": 2.0}),
    CurvePoint(0, 0.0, "old", {"psnr_db": 25.0, "ssim": 0.75}),
    CurvePoint(16, 5.0, "new", {"psnr_db": 20.0, "ssim": 0.625, "depth_median_m": 0.5}),
    CurvePoint(16, 5.0, "old", {"psnr_db": 24.0, "ssim": 0.5}),
    CurvePoint(64, 20.0, "new", {"psnr_db": 22.5, "ssim": 0.75, "depth_median_m": 0.25}),
]


def _lines(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    drawn = [line.attrib["points"].split() for line in root.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (place.split(",") for place in line)] for line in drawn]


def test_the_table_has_a_row_a_point_and_leaves_out_what_is_unknown(tmp_path: Path) -> None:
    save_curve(tmp_path, POINTS[:2])
    save_curve(tmp_path, POINTS)
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["tto"], float(row["adapt_s"]), row["role"]) for row in rows] == [
        ("0", 0, "new"), ("0", 0, "old"), ("16", 5, "new"), ("16", 5, "old"), ("64", 20, "new"),
    ]  # fmt: skip
    assert [row["depth_median_m"] for row in rows] == ["2", "", "0.5", "", "0.25"]
    assert [float(row["psnr_db"]) for row in rows] == [15, 25, 20, 24, 22.5]
    assert rows[0]["lpips"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "curve.svg"]


def test_the_plot_is_to_scale() -> None:
    # 0 to 20 s lie between x = 64 and 544, 14 to 26 dB between y = 308 and 40: 24 px a second, 22.33 a dB.
    old, new = _lines(curve_svg(POINTS))
    assert new == [(64, 285.7), (184, 174), (544, 118.2)]
    assert old == [(64, 62.3), (184, 84.7)]


def test_axes_are_labelled_with_round_numbers() -> None:
    texts = [text.text for text in ElementTree.fromstring(curve_svg(POINTS)).iter(f"{SVG}text")]
    assert [t for t in texts if t and t[0].isdigit()] == [
        "14", "16", "18", "20", "22", "24", "26", "0", "5", "10", "15", "20",
    ]  # fmt: skip
    assert texts[-2:] == ["old views", "new views"]


def test_labels_of_lines_that_end_together_stand_apart() -> None:
    ends = [CurvePoint(4, 3.0, role, {"psnr_db": 20.0}) for role in ("new", "old")]
    labels = [
        float(text.attrib["y"])
        for text in ElementTree.fromstring(curve_svg(ends)).iter(f"{SVG}text")
        if str(text.text).endswith("views")
    ]
    assert labels[1] - labels[0] == 16


def test_one_measurement_is_a_dot_and_none_is_refused() -> None:
    assert _lines(curve_svg(POINTS[:1])) == [[(64, 308)]]
    with pytest.raises(ValueError, match="at least one point"):
        curve_svg([])

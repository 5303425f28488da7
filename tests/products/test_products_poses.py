"""The table of moved poses."""

import csv

import pytest

from anerf.errors import InputError
from anerf.learn.poses import PoseCorrection
from anerf.products.poses import POSES_FILE, PoseSummary, read_poses, save_poses

CORRECTIONS = {
    "images/b.jpg": PoseCorrection((0.3, 0.0, -0.4), (0.1, 1 / 3, 0.0), 2.5, 0.5, 900),
    "images/a, b.jpg": PoseCorrection((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.5, 1.5, 1024, refused=True),
    "images/c.jpg": PoseCorrection((0.0, 0.1, 0.0), (0.0, 0.2, 0.0), 0.5, 0.4, 1000),
}


def test_corrections_are_read_as_they_were_written(tmp_path):
    save_poses(tmp_path, CORRECTIONS)
    assert read_poses(tmp_path) == CORRECTIONS
    assert [path.name for path in tmp_path.iterdir()] == [POSES_FILE]
    with (tmp_path / POSES_FILE).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == sorted(CORRECTIONS)
    assert (float(rows[1]["metres"]), rows[0]["refused"]) == (0.5, "1")


def test_a_summary_counts_all_photographs():
    summary = PoseSummary.of(CORRECTIONS)
    assert (summary.n_views, summary.n_refused, summary.median_m) == (3, 1, 0.1)
    assert summary.median_deg == pytest.approx(0.2)


@pytest.mark.parametrize("content", [None, "", "file,east_m\nx,1\n"], ids=["none", "empty", "other"])
def test_what_is_no_table_of_poses_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / POSES_FILE).write_text(content)
    with pytest.raises(InputError, match=r"poses\.csv.*run the job again"):
        read_poses(tmp_path)


def test_a_torn_row_is_not_taken_for_a_correction(tmp_path):
    save_poses(tmp_path, CORRECTIONS)
    path = tmp_path / POSES_FILE
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"poses\.csv cannot be read .*run the job again"):
        read_poses(tmp_path)

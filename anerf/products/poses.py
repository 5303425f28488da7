"""`poses.csv` of an adaptation job: how far the photographs' poses were moved."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from anerf.errors import InputError
from anerf.learn.poses import PoseCorrection

POSES_FILE = "poses.csv"
_TRANSLATION = ("east_m", "north_m", "up_m")
_ROTATION = ("about_right_deg", "about_up_deg", "about_back_deg")
_HEADER = (
    "file", *_TRANSLATION, *_ROTATION, "metres", "degrees", "cost_before", "cost_after", "n_rays", "refused",
)  # fmt: skip


def save_poses(folder: Path, corrections: Mapping[str, PoseCorrection]) -> None:
    """Write the corrections of photographs (by file) to the job's folder, whole or not at all."""
    partial = folder / f".{POSES_FILE}.{os.getpid()}.part"
    with partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_HEADER)
        for name, c in sorted(corrections.items()):
            costs = (c.cost_before, c.cost_after, c.n_rays, int(c.refused))
            table.writerow((name, *c.translation_m, *c.rotation_deg, c.metres, c.degrees, *costs))
    partial.replace(folder / POSES_FILE)


def read_poses(folder: Path) -> dict[str, PoseCorrection]:
    """The inverse of `save_poses`, to the last bit.

    Raises:
        InputError: the table is missing or not one of ours.
    """
    path = folder / POSES_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if tuple(table.fieldnames or ()) != _HEADER:
                raise InputError(f"{path} has not the columns of a table of poses: run the job again")
            return {row["file"]: _correction(row) for row in table}
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): run the job again") from error


@dataclass(frozen=True)
class PoseSummary:
    """What a refinement did to a flight's photographs; medians are over all of them."""

    n_views: int
    n_refused: int
    median_m: float
    median_deg: float

    @staticmethod
    def of(corrections: Mapping[str, PoseCorrection]) -> "PoseSummary":
        """Of at least one photograph."""
        all_of_them = list(corrections.values())
        return PoseSummary(
            len(all_of_them),
            sum(c.refused for c in all_of_them),
            median(c.metres for c in all_of_them),
            median(c.degrees for c in all_of_them),
        )


def _correction(row: Mapping[str, Any]) -> PoseCorrection:
    east, north, up = (float(row[name]) for name in _TRANSLATION)
    about_right, about_up, about_back = (float(row[name]) for name in _ROTATION)
    return PoseCorrection(
        (east, north, up),
        (about_right, about_up, about_back),
        float(row["cost_before"]),
        float(row["cost_after"]),
        int(row["n_rays"]),
        row["refused"] == "1",
    )

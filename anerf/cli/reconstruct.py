"""`anerf reconstruct IMAGES --out SURVEY`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from anerf.cli.progress import stage_bars
from anerf.scene.sfm.reconstruct import Reconstructed, ReconstructOptions
from anerf.scene.sfm.reconstruct import reconstruct as make
from anerf.scene.world import HeightPrior

_MARKS = {"note": "[green]ok[/]", "warning": "[yellow]warning[/]", "stop": "[red]wrong[/]"}


def reconstruct(
    images: tyro.conf.Positional[Path],
    out: Path,
    *,
    gps: Path | None = None,
    height_prior: HeightPrior = "gps",
    ignore_gps: bool = False,
    camera_model: str = "SIMPLE_RADIAL",
    max_image_px: int = 2400,
    neighbours: int = 24,
    seed: int = 0,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Finds out from photographs alone where each was taken: a survey for anerf prepare.

    Interrupted, the same command goes on where it was.

    Args:
        images: Folder of the photographs.
        out: The survey folder to make.
        gps: Table of positions (name,lat_deg,lon_deg,alt_m) that goes before the photographs' EXIF.
        height_prior: median holds all cameras to the median height: for flights at one level whose recorded
            heights drift.
        ignore_gps: Accepts a result that contradicts GPS beyond the limits.
        camera_model: COLMAP's name of the lens model whose parameters are found too.
        max_image_px: Longest side at which features are looked for; larger photographs are reduced.
        neighbours: With how many of its nearest each photograph is compared, from 60 photographs on.
        seed: Of the random choices; the same gives the same.
        as_json: Writes the summary as JSON.
    """
    options = ReconstructOptions(camera_model, max_image_px, neighbours, seed)
    with stage_bars(hidden=as_json) as progress:
        made = make(
            images, out, progress, options, gps=gps, height_prior=height_prior, check_gps=not ignore_gps
        )
    if as_json:
        sys.stdout.write(json.dumps(_summary(made)) + "\n")
    else:
        _show(made)


def _show(made: Reconstructed) -> None:
    console = Console(highlight=False, soft_wrap=True)
    n_all = len(made.registered) + len(made.missing)
    console.print(
        f"{len(made.registered)} of {n_all} photographs registered, {made.n_points} points, "
        f"{made.reprojection_px:.2f} px mean reprojection error: survey in {made.survey}"
    )
    if made.missing:
        listed = ", ".join(made.missing[:10]) + (", ..." if len(made.missing) > 10 else "")
        console.print(f"not registered (too little in common with the others): {listed}", markup=False)
    for finding in made.georeference.findings if made.georeference else ():
        console.print(f"{_MARKS[finding.level]}: {finding.text}")


def _summary(made: Reconstructed) -> dict[str, object]:
    found = made.georeference
    return {
        "survey": str(made.survey),
        "registered": list(made.registered),
        "missing": list(made.missing),
        "points": made.n_points,
        "reprojection_px": made.reprojection_px,
        "horizontal_rms_m": found.horizontal_rms_m if found else None,
        "findings": [{"level": f.level, "text": f.text} for f in found.findings] if found else [],
    }

"""`anerf register SURVEY NEW_IMAGES`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from anerf.cli.progress import stage_bars
from anerf.scene.sfm.reconstruct import ReconstructOptions
from anerf.scene.sfm.register import register as add


def register(
    survey: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[Path],
    *,
    batch: str | None = None,
    camera_model: str = "SIMPLE_RADIAL",
    max_image_px: int = 2400,
    neighbours: int = 24,
    seed: int = 0,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Finds where new photographs were taken, among those of a survey, without moving an old pose.

    They become part of the survey; anerf update then takes them into a scene.

    Args:
        survey: Folder with images/ and a COLMAP model, by anerf reconstruct or another program.
        images: Folder of the new photographs.
        batch: Their folder below the survey's images/; by default the name of theirs.
        camera_model: COLMAP's name of the lens model of cameras that the survey does not know.
        max_image_px: Longest side at which features are looked for; larger photographs are reduced.
        neighbours: With how many of the nearest each photograph is compared.
        seed: Of the random choices; the same gives the same.
        as_json: Writes the summary as JSON.
    """
    options = ReconstructOptions(camera_model, max_image_px, neighbours, seed)
    with stage_bars(hidden=as_json) as progress:
        made = add(survey, images, batch or images.absolute().name, progress, options)
    if as_json:
        summary = {
            "survey": str(made.survey),
            "registered": list(made.registered),
            "missing": list(made.missing),
            "reprojection_px": made.reprojection_px,
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    n_all = len(made.registered) + len(made.missing)
    console.print(
        f"{len(made.registered)} of {n_all} photographs registered in {made.survey}, "
        f"{made.reprojection_px:.2f} px mean reprojection error; no old pose moved"
    )
    if made.missing:
        console.print(f"not registered (too little in common): {', '.join(made.missing)}", markup=False)

"""`anerf prepare SURVEY --out SCENE`."""

from pathlib import Path
from typing import Annotated

import tyro

from anerf.cli.numbers import origin_from, range_from
from anerf.cli.progress import progress_bar
from anerf.cli.scene_table import show_scene
from anerf.scene.intake import SurveyKind
from anerf.scene.manhattan import Manhattan
from anerf.scene.placing import Placing
from anerf.scene.prepare import prepare_scene
from anerf.scene.world import HeightPrior


def prepare(
    survey: tyro.conf.Positional[Path],
    out: Path,
    *,
    input: SurveyKind = "auto",
    name: str | None = None,
    enu_ref: str | None = None,
    height_prior: HeightPrior = "gps",
    manhattan: bool = False,
    metres_per_unit: float = 1.0,
    ignore_gps: bool = False,
    altitude_range: str | None = None,
    val_every: int = 8,
    overwrite: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Turns a survey (photographs with poses) into a scene.

    Args:
        survey: Folder with images/ and model/ (COLMAP), with transforms.json and its photographs, an ODM or
            WebODM project, or what the older system prepared.
        out: The scene folder to make; it appears complete or not at all.
        input: Where poses are read from; auto takes the first that is there: colmap, transforms, odm, older.
        name: The scene's name; the folder's name if not given.
        enu_ref: Origin of the scene: first, mean or median (of the cameras), or LATITUDE,LONGITUDE,HEIGHT
        (WGS
            84), which also is the place of a survey's zero that is in local metres and does not say where
            it lies.
        height_prior: For a model in a frame of its own, which GPS turns and scales: median holds all cameras
            to the median height, for flights at one level whose recorded heights drift.
        manhattan: Turns a model in a frame of its own upright by its ground and walls, without GPS; its
        middle
            is put at --enu-ref.
        metres_per_unit: With --manhattan, the length of the model's unit.
        ignore_gps: Takes the poses as they are, even if they contradict the photographs' GPS.
        altitude_range: Lowest and highest surface, LOW,HIGH in metres above the origin; by default from
            the sparse points.
        val_every: Every how many-th photograph is kept for validation, unless the survey names splits.
        overwrite: Replaces a scene that exists.
        as_json: Writes the summary as JSON.
    """
    with progress_bar("photographs", hidden=as_json) as progress:
        scene = prepare_scene(
            survey,
            out,
            kind=input,
            name=name,
            placing=Placing(
                origin_from(enu_ref) if enu_ref else None,
                height_prior,
                Manhattan(metres_per_unit) if manhattan else None,
            ),
            check_gps=not ignore_gps,
            altitude_range_m=range_from(altitude_range) if altitude_range else None,
            val_every=val_every,
            overwrite=overwrite,
            progress=progress,
        )
    show_scene(scene, as_json=as_json)

"""`anerf update SCENE SURVEY --batch TAG`."""

from pathlib import Path
from typing import Annotated

import tyro

from anerf.cli.numbers import reference_from
from anerf.cli.progress import progress_bar
from anerf.cli.scene_table import show_scene
from anerf.scene.intake import SurveyKind
from anerf.scene.update import update_scene


def update(
    scene: tyro.conf.Positional[Path],
    survey: tyro.conf.Positional[Path],
    batch: str,
    *,
    input: SurveyKind = "auto",
    enu_ref: str | None = None,
    grow: bool = False,
    ignore_gps: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Adds a later flight to a scene, in its frame, without moving anything that is there.

    Args:
        scene: The scene folder.
        survey: The new flight's survey folder; photographs that the scene holds already are left out.
        batch: Name of the flight, which becomes the split of its photographs.
        input: Where poses are read from; auto takes the first that is there: colmap, transforms, odm, older.
        enu_ref: Place of the survey's zero, LATITUDE,LONGITUDE,HEIGHT, if it is in local metres and does not
            say where it lies.
        grow: Widens the scene's box to what the new photographs see, where some see nothing of it.
        ignore_gps: Takes the poses as they are, even if they contradict the photographs' GPS.
        as_json: Writes the summary as JSON.
    """
    with progress_bar("photographs", hidden=as_json) as progress:
        updated = update_scene(
            scene,
            survey,
            batch,
            kind=input,
            enu_reference=reference_from(enu_ref) if enu_ref else None,
            grow=grow,
            check_gps=not ignore_gps,
            progress=progress,
        )
    show_scene(updated, as_json=as_json)

"""Adds a later flight to a scene without moving anything that is there."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from anerf.errors import SceneError
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.folder import new_folder
from anerf.scene.growth import add_points, grown_scene, sees_box
from anerf.scene.intake import SurveyKind, read_survey, take_photographs
from anerf.scene.placing import PlacedSurvey, Placing, compare_with_gps, place_survey
from anerf.scene.scene import SCENE_FILE, Scene, load_scene, save_scene
from anerf.scene.threads import Progress
from anerf.scene.transforms import SPLIT_NAME
from anerf.scene.truth import take_truth

# Cameras further from the scene's box than this many of its longest sides belong to another place or datum.
_FAR_SIDES, _FAR_SIDES_GROWING = 1.0, 4.0


def update_scene(
    scene: Path,
    survey: Path,
    batch: str,
    *,
    kind: SurveyKind = "auto",
    enu_reference: GeodeticReference | None = None,
    grow: bool = False,
    check_gps: bool = True,
    progress: Progress | None = None,
) -> Scene:
    """Adds the photographs of `survey` that the scene does not hold yet, as the split `batch`.

    Origin, scale, and old frames stay as they are; new frames get the next ids. `enu_reference` is the
    place of the origin of a survey that does not say where it lies. Photographs that see nothing of the
    scene's box are refused, unless `grow` widens the box to what they see. The scene changes at once, when
    everything is copied, or not at all, whenever the process ends.
    """
    with _alone(scene):
        old = load_scene(scene)
        _check_batch(old, batch)
        placed = place_survey(read_survey(survey, kind), Placing(origin=enu_reference), old.reference)
        compare_with_gps(placed, check=check_gps)
        return _update(old, placed, batch, progress, grow=grow)


def _update(old: Scene, placed: PlacedSurvey, batch: str, progress: Progress | None, *, grow: bool) -> Scene:
    survey = placed.survey.root
    new = _unknown_photographs(old, placed)
    if not new:
        raise SceneError(
            f"all {len(placed.survey.photographs)} photographs of {survey} ({placed.survey.kind}) are "
            f"already in the scene {old.root}; bring the new flight, or choose its poses with --input"
        )
    _check_places(old, placed, new, _FAR_SIDES_GROWING if grow else _FAR_SIDES)
    blind = _seeing_nothing(old, placed, new)
    if len(blind) and not grow:
        raise SceneError(
            f"{len(blind)} of {len(new)} photographs of {survey}, {blind[0]} first, see nothing of the "
            "scene's box; leave them out, or widen the box with --grow"
        )
    grown = grown_scene(old, placed, new) if len(blind) else old

    images, masks = old.root / "images" / batch, old.root / "masks" / batch
    with new_folder(images) as new_images, new_folder(masks) as new_masks:
        frames = take_photographs(
            placed,
            [(position, batch) for position in new],
            new_images,
            new_masks,
            prefix=f"{batch}/",
            first_id=1 + max((frame.id for frame in old.frames), default=-1),
            progress=progress,
        )
        take_truth(survey, frames, old.root, prefix=f"{batch}/")
    if not any(masks.iterdir()):
        masks.rmdir()
    if grown is not old:
        add_points(grown, old, placed)
    # The table is replaced last: until then the new files belong to nobody.
    save_scene(replace(grown, frames=(*old.frames, *frames)))
    return load_scene(old.root)


@contextmanager
def _alone(scene: Path) -> Iterator[None]:
    """Holds the scene against other updates, and clears away what one that was killed has left."""
    if not (scene / SCENE_FILE).is_file():
        load_scene(scene)  # says what is missing
    folder = os.open(scene, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(folder, scene)
        for kind in ("images", "masks"):
            for left in (scene / kind).glob(".*.tmp-*"):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, scene: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SceneError(
            f"another update of {scene} is running; start this one when that has ended"
        ) from None


def _check_batch(scene: Scene, batch: str) -> None:
    if not SPLIT_NAME.fullmatch(batch):
        raise SceneError(f"{batch!r} cannot name a flight; use up to 64 letters, digits, dots and dashes")
    taken = any(frame.file.startswith(f"images/{batch}/") for frame in scene.frames)
    if batch in ("train", "val", *scene.splits()) or taken:
        raise SceneError(
            f"the scene {scene.root} uses the name {batch} already; give the flight another --batch"
        )


def _unknown_photographs(scene: Scene, placed: PlacedSurvey) -> list[int]:
    """Positions, sorted by name, of photographs that the scene does not hold; missing files count as new."""
    known = {frame.sha256 for frame in scene.frames}
    photographs = placed.survey.photographs
    return [
        position
        for position in sorted(range(len(photographs)), key=lambda position: photographs[position].name)
        if _sha256(photographs[position].source) not in known
    ]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _seeing_nothing(scene: Scene, placed: PlacedSurvey, positions: list[int]) -> list[str]:
    """Names of the photographs none of whose rays meets the scene's box."""
    photographs = placed.survey.photographs
    return [
        photographs[position].name
        for position in positions
        if not sees_box(photographs[position].camera, placed.c2w[position], scene.aabb)
    ]


def _check_places(scene: Scene, placed: PlacedSurvey, positions: list[int], far_sides: float) -> None:
    at = placed.c2w[positions, :, 3]
    beyond_m = np.maximum(np.array(scene.aabb.lo) - at, at - np.array(scene.aabb.hi)).max(axis=1)
    limit_m = 2 * scene.scale * far_sides
    worst = int(beyond_m.argmax())
    if beyond_m[worst] > limit_m:
        name = placed.survey.photographs[positions[worst]].name
        raise SceneError(
            f"photograph {name} of {placed.survey.root} stands {beyond_m[worst]:.0f} m outside the scene's "
            f"box, more than {limit_m:.0f} m; check the survey's datum and --enu-ref, or prepare a new scene"
        )

"""Adds a later flight to a scene without moving anything that is there."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from anerf.errors import SceneError
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.folder import new_folder
from anerf.scene.intake import SurveyKind, read_survey, take_photographs
from anerf.scene.placing import PlacedSurvey, Placing, place_survey
from anerf.scene.scene import Scene, load_scene, save_scene
from anerf.scene.threads import Progress
from anerf.scene.transforms import SPLIT_NAME
from anerf.scene.truth import take_truth

# Cameras further from the scene's box than this many of its longest sides belong to another place or datum.
_FAR_SIDES = 1.0


def update_scene(
    scene: Path,
    survey: Path,
    batch: str,
    *,
    kind: SurveyKind = "auto",
    enu_reference: GeodeticReference | None = None,
    progress: Progress | None = None,
) -> Scene:
    """Adds the photographs of `survey` that the scene does not hold yet, as the split `batch`.

    Origin, scale, box, and every old frame stay as they are; new frames get the next ids. `enu_reference` is
    the place of the origin of a survey that does not say where it lies. The scene changes at once, when
    everything is copied, or not at all.
    """
    old = load_scene(scene)
    _check_batch(old, batch)
    placed = place_survey(read_survey(survey, kind), Placing(origin=enu_reference), old.reference)
    new = _unknown_photographs(old, placed)
    if not new:
        raise SceneError(
            f"all {len(placed.survey.photographs)} photographs of {survey} ({placed.survey.kind}) are "
            f"already in the scene {scene}; bring the new flight, or choose its poses with --input"
        )
    _check_places(old, placed, new)

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
    # The table is replaced last: until then the new files belong to nobody.
    save_scene(replace(old, frames=(*old.frames, *frames)))
    return load_scene(scene)


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


def _check_places(scene: Scene, placed: PlacedSurvey, positions: list[int]) -> None:
    at = placed.c2w[positions, :, 3]
    beyond_m = np.maximum(np.array(scene.aabb.lo) - at, at - np.array(scene.aabb.hi)).max(axis=1)
    limit_m = 2 * scene.scale * _FAR_SIDES
    worst = int(beyond_m.argmax())
    if beyond_m[worst] > limit_m:
        name = placed.survey.photographs[positions[worst]].name
        raise SceneError(
            f"photograph {name} of {placed.survey.root} stands {beyond_m[worst]:.0f} m outside the scene's "
            f"box, more than {limit_m:.0f} m; check the survey's datum and --enu-ref, or prepare a new scene"
        )

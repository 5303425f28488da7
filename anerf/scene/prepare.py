"""From a survey to a scene folder: one frame of reference, one table of photographs, one box."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from anerf import __version__
from anerf.errors import InputError, SceneError
from anerf.geometry.boxes import Aabb
from anerf.scene.extent import box_of_points, box_of_views
from anerf.scene.folder import new_folder
from anerf.scene.intake import SurveyKind, read_survey, take_photographs
from anerf.scene.placing import AS_THE_SURVEY_SAYS, PlacedSurvey, Placing, compare_with_gps, place_survey
from anerf.scene.reprojection import reprojection_error_px
from anerf.scene.scene import SCENE_FILE, Reprojection, Scene, load_scene, save_points, save_scene
from anerf.scene.survey import Survey
from anerf.scene.threads import Progress
from anerf.scene.truth import take_truth

log = logging.getLogger(__name__)


def prepare_scene(
    survey: Path,
    out: Path,
    *,
    kind: SurveyKind = "auto",
    name: str | None = None,
    placing: Placing = AS_THE_SURVEY_SAYS,
    check_gps: bool = True,
    altitude_range_m: tuple[float, float] | None = None,
    val_every: int = 8,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Scene:
    """Makes the scene folder `out` from a survey folder; it appears complete or not at all.

    `placing` tells how the survey's frame is brought to Earth. Where the result contradicts the
    photographs' GPS beyond the limits of `georeference`, that is an InputError, unless not `check_gps`.
    `altitude_range_m` replaces the heights (ENU) of the scene's box. Every `val_every`-th photograph by
    name is for validation unless the survey names splits. InputError or SceneError says what cannot be used
    and what to do about it.
    """
    _check_target(survey, out, overwrite)
    if val_every < 2:
        raise InputError(
            f"every {val_every}-th photograph for validation leaves none to learn from; give 2 or more"
        )
    placed = place_survey(read_survey(survey, kind), placing)
    compare_with_gps(placed, check=check_gps)
    box, box_from = _scene_box(placed, altitude_range_m)
    cameras_m = placed.c2w[:, 2, 3]
    scene = Scene(
        root=out,
        name=name or out.absolute().name,
        reference=placed.reference,
        crs=placed.reference.utm_crs,
        origin=box.center,
        scale=max(box.size[:2]) / 2,
        aabb=box,
        altitude_range_m=(box.lo[2], max(box.hi[2], float(cameras_m.max()))),
        frames=(),
        made_by=(
            f"anerf {__version__} prepare, {placed.survey.kind}; {placed.world.how}; reference {placed.how}; "
            f"box {box_from}"
        ),
        reprojection=_reprojection(placed),
    )
    with new_folder(out) as partial:
        splits = _splits(placed.survey, val_every)
        frames = take_photographs(placed, splits, partial / "images", partial / "masks", progress=progress)
        take_truth(survey, frames, partial)
        if len(placed.points_xyz) and placed.survey.model is not None:
            save_points(partial, placed.points_xyz, placed.survey.model.points_rgb)
        save_scene(replace(scene, root=partial, frames=frames))
    return load_scene(out)


def _check_target(survey: Path, out: Path, overwrite: bool) -> None:
    if survey.resolve().is_relative_to(out.resolve()):
        raise SceneError(f"the scene {out} would replace its own survey {survey}; give another --out")
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not overwrite:
        raise SceneError(f"{out} exists already; give another --out or replace it with --overwrite")
    if out.exists() and not (out / SCENE_FILE).is_file():
        raise SceneError(
            f"{out} is not a scene and will not be overwritten; remove it yourself or give another --out"
        )


def _scene_box(placed: PlacedSurvey, altitude_range_m: tuple[float, float] | None) -> tuple[Aabb, str]:
    if len(placed.points_xyz):
        return box_of_points(placed.points_xyz, altitude_range_m), "from sparse points"
    heights_m = altitude_range_m or placed.survey.altitude_range_m
    if heights_m is None:
        raise InputError(
            f"{placed.survey.root} has no sparse points to find the scene's box; put the COLMAP model into "
            f"{placed.survey.root / 'model'} or give the heights of its surfaces, in metres relative to the "
            "reference, with --altitude-range LOW,HIGH"
        )
    cameras = [photograph.camera for photograph in placed.survey.photographs]
    return box_of_views(cameras, placed.c2w, heights_m), "from the cameras' views of the ground"


def _splits(survey: Survey, val_every: int) -> list[tuple[int, str]]:
    """Positions of the photographs, sorted by name, each with its split."""
    order = sorted(range(len(survey.photographs)), key=lambda position: survey.photographs[position].name)
    named = [survey.photographs[position].split for position in order]
    if any(named):
        return [(position, split or "train") for position, split in zip(order, named, strict=True)]
    # From the middle of each group, so that the survey's first and last photographs are learned from.
    is_val = (np.arange(len(order)) % val_every) == val_every // 2
    return [(position, "val" if val else "train") for position, val in zip(order, is_val, strict=True)]


def _reprojection(placed: PlacedSurvey) -> Reprojection | None:
    model = placed.survey.model
    if model is None or not len(placed.points_xyz):
        return None
    photographs = zip(placed.survey.photographs, placed.c2w, strict=True)
    views = {photograph.name: (photograph.camera, c2w) for photograph, c2w in photographs}
    error_px = reprojection_error_px(views, placed.points_xyz, model.images)
    if np.isnan(error_px):
        return None
    return Reprojection(error_px, float(model.points_error_px.mean()))

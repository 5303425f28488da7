"""Brings a survey's poses and points to Earth: ENU metres about one reference."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference, is_ecef
from anerf.scene.georeference import Georeference, georeference
from anerf.scene.gps import GpsFix, photograph_fixes
from anerf.scene.manhattan import Manhattan, manhattan_world
from anerf.scene.survey import Survey
from anerf.scene.world import HeightPrior, World, world_of

log = logging.getLogger(__name__)

CameraOrigin = Literal["first", "mean", "median"]
# A sparse model beside a transforms.json belongs to it if their cameras stand at the same places.
_SAME_PLACE_M = 1.0
# Further out, up at the reference is no longer up at the survey.
_FARTHEST_M = 50_000.0
# Around so many cameras the others are looked for where a survey does not stand together.
_CANDIDATES = 200


@dataclass(frozen=True, eq=False)
class PlacedSurvey:
    """A survey whose poses and points are ENU metres about a known reference."""

    survey: Survey
    reference: GeodeticReference
    how: str
    """Where the reference comes from, for people."""
    world: World
    """What the survey's own frame is."""
    fixes: tuple[GpsFix | None, ...]
    """Where the survey's photographs say they were taken, in their order."""
    c2w: Float[np.ndarray, "n 3 4"]
    """Poses of the survey's photographs, in their order."""
    points_xyz: Float[np.ndarray, "p 3"]
    """Points of the survey's model, in its order; empty without a model."""


@dataclass(frozen=True)
class Placing:
    """How people want a survey placed."""

    origin: GeodeticReference | CameraOrigin | None = None
    """Origin of the scene; a GeodeticReference also is the zero of a survey that does not say where it
    lies."""
    height_prior: HeightPrior = "gps"
    manhattan: Manhattan | None = None
    """Set for a survey in a frame of its own that no GPS can turn upright."""


AS_THE_SURVEY_SAYS = Placing()


def place_survey(
    survey: Survey, placing: Placing = AS_THE_SURVEY_SAYS, reference: GeodeticReference | None = None
) -> PlacedSurvey:
    """Turns a survey's world into ENU metres about `reference`.

    Without one, `placing.origin` is taken, else the survey's own reference, else the mean of its cameras.
    InputError if nothing tells where on Earth the survey's frame lies.
    """
    fixes = photograph_fixes(
        survey.root,
        [photograph.name for photograph in survey.photographs],
        [photograph.source for photograph in survey.photographs],
    )
    world = _world(survey, fixes, placing)
    log.info("%s: %s", survey.root, world.how)
    c2w = np.stack([photograph.c2w for photograph in survey.photographs])
    _check_together(survey)
    target, how = (
        (reference, "the scene's") if reference is not None else _origin(survey, world, placing, c2w)
    )
    c2w = world.into(target, c2w)
    far_m = float(np.linalg.norm(np.median(c2w[..., 3], axis=0)))
    if far_m > _FARTHEST_M:
        raise InputError(
            f"the cameras of {survey.root} stand {far_m / 1000:.0f} km from the reference "
            f"{target.latitude_deg}, {target.longitude_deg}, {target.height_m}, more than "
            f"{_FARTHEST_M / 1000:.0f} km; check the order and signs of --enu-ref LATITUDE,LONGITUDE,HEIGHT"
        )
    points = _points(survey, world, target, c2w)
    return PlacedSurvey(survey, target, how, world, tuple(fixes), c2w, points)


def _world(survey: Survey, fixes: Sequence[GpsFix | None], placing: Placing) -> World:
    cameras = np.stack([photograph.c2w[:, 3] for photograph in survey.photographs])
    named = placing.origin if isinstance(placing.origin, GeodeticReference) else None
    if placing.manhattan is not None and not is_ecef(cameras):
        if named is None:
            raise InputError(
                f"{survey.root}: --manhattan turns a survey upright but cannot tell where it lies; give the "
                "place of its middle with --enu-ref LATITUDE,LONGITUDE,HEIGHT"
            )
        return manhattan_world(survey, named, placing.manhattan)
    world = world_of(cameras, fixes, survey.reference or named, placing.height_prior)
    if world is None:
        far_m = np.abs(np.median(cameras, axis=0)).max()
        raise InputError(
            f"the cameras of {survey.root} are not in ECEF (they stand {far_m:.0f} from zero) and nothing "
            "says where on Earth their zero lies; align the model to GPS in ECEF, bring the photographs' GPS "
            "(EXIF or gps.csv), or, if it is in metres with x east, y north and z up, give its origin with "
            "--enu-ref LATITUDE,LONGITUDE,HEIGHT (with --manhattan if it is turned or scaled otherwise)"
        )
    return world


def _origin(
    survey: Survey, world: World, placing: Placing, c2w: Float[np.ndarray, "n 3 4"]
) -> tuple[GeodeticReference, str]:
    """The origin of the scene, and where it comes from."""
    if isinstance(placing.origin, GeodeticReference):
        return placing.origin, "as wanted"
    if placing.origin is None and survey.reference is not None:
        return survey.reference, "named by the survey"
    cameras = world.ecef(c2w[..., 3])
    if placing.origin == "first":
        first = min(range(len(cameras)), key=lambda i: survey.photographs[i].name)
        return GeodeticReference.from_ecef(cameras[first]), "the first camera"
    if placing.origin == "median":
        return GeodeticReference.from_ecef(np.median(cameras, axis=0)), "median of the cameras"
    return GeodeticReference.from_ecef(cameras.mean(axis=0)), "mean of the cameras"


def compare_with_gps(placed: PlacedSurvey, *, check: bool) -> Georeference:
    """What poses and GPS say about each other, and into the log; InputError beyond the limits if `check`."""
    photographs = placed.survey.photographs
    order = sorted(range(len(photographs)), key=lambda position: photographs[position].name)
    found = georeference(
        [photographs[position].name for position in order],
        placed.c2w[order],
        [placed.fixes[position] for position in order],
        placed.points_xyz,
        placed.reference,
        aligned_heights=placed.world.heights_from_gps,
    )
    for finding in found.findings:
        log.log(logging.INFO if finding.level == "note" else logging.WARNING, "%s", finding.text)
    if check:
        found.check(str(placed.survey.root))
    return found


def _check_together(survey: Survey) -> None:
    """InputError naming photographs that stand too far from most others, as in two frames of reference."""
    stands = np.stack([photograph.c2w[:, 3] for photograph in survey.photographs])
    if (np.linalg.norm(stands - np.median(stands, axis=0), axis=1) <= _FARTHEST_M).all():
        return
    # A median between two halves is near to neither: the largest group around one camera is the survey.
    groups = (np.linalg.norm(stands - stand, axis=1) <= _FARTHEST_M for stand in stands[:_CANDIDATES])
    apart = np.flatnonzero(~max(groups, key=lambda group: int(group.sum())))
    if not len(apart):
        return
    names = ", ".join(survey.photographs[position].name for position in apart[:3])
    raise InputError(
        f"{len(apart)} of the {len(stands)} photographs of {survey.root} stand more than "
        f"{_FARTHEST_M / 1000:.0f} km from the others ({names}{', ...' if len(apart) > 3 else ''}); bring "
        "all poses into one frame of reference, or remove these photographs"
    )


def _points(
    survey: Survey, world: World, reference: GeodeticReference, c2w: Float[np.ndarray, "n 3 4"]
) -> Float[np.ndarray, "p 3"]:
    model = survey.model
    if model is None:
        return np.empty((0, 3))
    stands = np.stack([image.c2w[:, 3] for image in model.images])
    # Poses beside a model may be in another frame than the model's.
    of_model = World("ecef", "") if is_ecef(stands) else world
    if of_model.about is None and not is_ecef(stands):
        log.warning(
            "the sparse model of %s is not used: it is not in ECEF although the poses are", survey.root
        )
        return np.empty((0, 3))
    by_name = {photograph.name: pose[:, 3] for photograph, pose in zip(survey.photographs, c2w, strict=True)}
    stands = of_model.into(reference, stands)
    apart_m = [
        np.linalg.norm(at - by_name[im.name])
        for im, at in zip(model.images, stands, strict=True)
        if im.name in by_name
    ]
    if not apart_m or np.median(apart_m) > _SAME_PLACE_M:
        found = (
            f"its cameras stand {np.median(apart_m):.1f} m away from them"
            if apart_m
            else "it has other cameras"
        )
        log.warning(
            "the sparse model of %s does not belong to the poses and is not used: %s", survey.root, found
        )
        return np.empty((0, 3))
    return of_model.into(reference, model.points_xyz)

"""A survey from photographs alone: features, matches, mapping, and its place on Earth by GPS."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.alignment import Similarity
from anerf.geometry.camera_models import PARAMETER_NAMES
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_frame
from anerf.scene.folder import new_folder
from anerf.scene.georeference import Georeference, georeference
from anerf.scene.gps import GPS_FILE, GpsFix, fixes_ecef, photograph_fixes, read_gps_table
from anerf.scene.sfm.features import find_features, match
from anerf.scene.sfm.mapping import map_photographs
from anerf.scene.sfm.pairs import pairs_among
from anerf.scene.sfm.workplace import (
    StageProgress,
    Workplace,
    begin,
    find_photographs,
    quiet_colmap,
    take_file,
)
from anerf.scene.world import FEWEST_FIXES, HeightPrior, fit_to_gps

log = logging.getLogger(__name__)

_SMALLEST_PX = 64


@dataclass(frozen=True)
class ReconstructOptions:
    """How photographs are turned into a model."""

    camera_model: str = "SIMPLE_RADIAL"
    """COLMAP's name; its parameters are found along with the poses."""
    max_image_px: int = 2400
    """Longest side at which features are looked for; larger photographs are reduced."""
    neighbours: int = 24
    """With how many of the nearest each photograph is compared, from 60 photographs on."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what COLMAP cannot work with."""
        if self.camera_model not in PARAMETER_NAMES:
            raise InputError(
                f"there is no camera model {self.camera_model}; --camera-model knows "
                f"{', '.join(PARAMETER_NAMES)}"
            )
        if self.max_image_px < _SMALLEST_PX or self.neighbours < 1 or self.seed < 0:
            raise InputError(
                f"--max-image-px {self.max_image_px}, --neighbours {self.neighbours} and --seed {self.seed} "
                f"cannot be; give at least {_SMALLEST_PX}, 1 and 0"
            )

    @property
    def settings(self) -> dict[str, str | int]:
        """What must stay the same when an interrupted work goes on."""
        return {"camera_model": self.camera_model, "max_image_px": self.max_image_px, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """What came of it."""

    survey: Path
    registered: tuple[str, ...]
    missing: tuple[str, ...]
    """Photographs that fit to no other ones well enough."""
    n_points: int
    reprojection_px: float
    georeference: Georeference | None
    """None if the model stays in a frame of its own, for want of GPS."""


def reconstruct(
    images: Path,
    out: Path,
    progress: StageProgress,
    options: ReconstructOptions,
    *,
    gps: Path | None = None,
    height_prior: HeightPrior = "gps",
    check_gps: bool = True,
) -> Reconstructed:
    """Makes the survey `out` (photographs, model in ECEF) from the photographs below `images`.

    Interrupted, the same call goes on where it was. `gps` is a table of positions that goes before EXIF.
    Where the result contradicts GPS beyond the limits of `georeference`, that is an InputError unless not
    `check_gps`; the mapping is kept for another try. Without GPS the model stays in a frame of its own.
    """
    quiet_colmap()
    if out.resolve().is_relative_to(images.resolve()):
        raise InputError(f"{out} lies inside the photographs' folder {images}; give another --out")
    if gps is not None:
        read_gps_table(gps)  # says at once what is wrong with it
    names = find_photographs(images)
    for name in names:
        take_file(images / name, out / "images" / name)
    if gps is not None:
        take_file(gps, out / GPS_FILE)
    workplace = begin(out, names, options.settings)
    fixes = photograph_fixes(out, names, [out / "images" / name for name in names])
    find_features(workplace, progress, camera_model=options.camera_model, max_image_px=options.max_image_px)
    match(workplace, pairs_among(map_places(fixes), len(names), options.neighbours), progress)
    model = map_photographs(workplace, progress, options.seed)
    return _place(workplace, model, fixes, height_prior, check=check_gps)


def map_places(
    fixes: Sequence[GpsFix | None], about: GeodeticReference | None = None
) -> Float[np.ndarray, "n 2"]:
    """Metres east and north of `about` (default: the first fix), NaN where there is no fix."""
    places = np.full((len(fixes), 2), np.nan)
    known = [(i, GpsFix(fix.latitude_deg, fix.longitude_deg, 0.0)) for i, fix in enumerate(fixes) if fix]
    if known:
        ecef = fixes_ecef([fix for _, fix in known])
        about = about or GeodeticReference(known[0][1].latitude_deg, known[0][1].longitude_deg, 0.0)
        places[[i for i, _ in known]] = ecef_to_enu(ecef, about)[:, :2]
    return places


def _place(
    workplace: Workplace,
    model: pycolmap.Reconstruction,
    fixes: list[GpsFix | None],
    height_prior: HeightPrior,
    *,
    check: bool,
) -> Reconstructed:
    """Puts the model into ECEF, if GPS allows, and writes it as the survey's."""
    name_of = {photograph.number: photograph.name for photograph in workplace.photographs}
    fix_of = {photograph.name: fix for photograph, fix in zip(workplace.photographs, fixes, strict=True)}
    images = sorted(
        (model.image(image_id) for image_id in model.reg_image_ids()), key=lambda image: name_of[image.name]
    )
    names = [name_of[image.name] for image in images]
    found = None
    if sum(fix_of[name] is not None for name in names) >= FEWEST_FIXES:
        cameras = np.stack([image.projection_center() for image in images])
        known = [fix_of[name] for name in names]
        fit = fit_to_gps(cameras, known, height_prior)
        _move(model, fit.similarity)
        c2w = np.stack([_c2w(image) for image in images])
        points = np.array([point.xyz for point in model.points3D.values()]).reshape(-1, 3)
        aligned = height_prior == "gps"
        found = georeference(names, c2w, known, points, fit.about, aligned_heights=aligned)
        if check:
            found.check(str(workplace.survey))
        _move(model, enu_in_ecef(fit.about))
    else:
        log.warning(
            "fewer than %d photographs of %s have GPS: the model stays in a frame of its own; place it "
            "with anerf "
            "prepare --manhattan --enu-ref LATITUDE,LONGITUDE,HEIGHT", FEWEST_FIXES, workplace.survey,
        )  # fmt: skip
    for image_id in list(model.images):
        model.image(image_id).name = name_of[model.image(image_id).name]
    with new_folder(workplace.survey / "model") as partial:
        model.write(partial)
    missing = tuple(sorted(set(name_of.values()) - set(names)))
    return Reconstructed(
        workplace.survey,
        tuple(names),
        missing,
        model.num_points3D(),
        model.compute_mean_reprojection_error(),
        found,
    )


def _move(model: pycolmap.Reconstruction, by: Similarity) -> None:
    model.transform(pycolmap.Sim3d(by.scale, pycolmap.Rotation3d(by.rotation), by.translation))


def _c2w(image: pycolmap.Image) -> Float[np.ndarray, "3 4"]:
    rotation = image.cam_from_world().rotation.matrix().T
    return np.column_stack((rotation * (1.0, -1.0, -1.0), image.projection_center()))


def enu_in_ecef(about: GeodeticReference) -> Similarity:
    """The rigid motion from ENU about a reference to ECEF."""
    origin, rotation = enu_frame(about)
    return Similarity(1.0, rotation, origin)

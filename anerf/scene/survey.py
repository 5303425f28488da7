"""What a user brings: photographs with poses, and perhaps sparse points, in one world frame.

The world of a survey is ECEF, or ENU metres about a reference that the survey or the user names.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef, is_ecef
from anerf.scene.colmap import FILES, ColmapModel, read_colmap
from anerf.scene.photographs import check_names

log = logging.getLogger(__name__)

MODEL_FOLDERS = ("model", "sparse/0", "sparse", "colmap/sparse/0")
# A sparse model beside a transforms.json belongs to it if their cameras stand at the same places.
_SAME_PLACE_M = 1.0
# Further out, up at the reference is no longer up at the survey.
_FARTHEST_M = 50_000.0


@dataclass(frozen=True, eq=False)
class Photograph:
    """One posed photograph of a survey."""

    name: str
    """Path below the scene's `images/`."""
    source: Path
    camera: Camera
    c2w: Float[np.ndarray, "3 4"]
    """OpenGL axes, in the survey's world, float64."""
    split: str | None = None
    """None where the survey names no splits."""
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Survey:
    """Posed photographs and, where there is one, the sparse model that their points come from."""

    root: Path
    kind: str
    """`colmap` or `transforms`: what the poses were read from."""
    photographs: tuple[Photograph, ...]
    reference: GeodeticReference | None = None
    """Origin of the world frame if that is ENU and the survey says where it lies."""
    model: ColmapModel | None = None
    altitude_range_m: tuple[float, float] | None = None
    """ENU heights that the survey says its scene lies between."""


@dataclass(frozen=True, eq=False)
class PlacedSurvey:
    """A survey whose poses and points are ENU metres about a known reference."""

    survey: Survey
    reference: GeodeticReference
    how: str
    """Where the reference comes from, for people."""
    c2w: Float[np.ndarray, "n 3 4"]
    """Poses of the survey's photographs, in their order."""
    points_xyz: Float[np.ndarray, "p 3"]
    """Points of the survey's model, in its order; empty without a model."""


def model_folder(root: Path) -> Path | None:
    """The first of the usual places in a survey that holds a COLMAP model, complete or not."""
    for name in MODEL_FOLDERS:
        folder = root / name
        if any((folder / file).with_suffix(end).is_file() for file in FILES for end in (".bin", ".txt")):
            return folder
    return None


def read_colmap_survey(root: Path) -> Survey:
    """A survey of `images/` and a COLMAP model; masks are `masks/<photograph name>.png` where they exist."""
    folder = model_folder(root)
    if folder is None:
        raise InputError(
            f"{root} holds no COLMAP model (looked in {', '.join(MODEL_FOLDERS)}); put {', '.join(FILES)} "
            f"into {root / 'model'}"
        )
    if not (root / "images").is_dir():
        raise InputError(
            f"{root} has no images folder; put the photographs of the model into {root / 'images'}"
        )
    model = read_colmap(folder)
    check_names((image.name for image in model.images), folder / "images.bin")
    photographs = []
    for image in model.images:
        mask = root / "masks" / f"{image.name}.png"
        photographs.append(
            Photograph(
                name=image.name,
                source=root / "images" / image.name,
                camera=model.cameras[image.camera_id],
                c2w=check_pose(image.c2w, image.name, folder / "images.bin"),
                mask=mask if mask.is_file() else None,
            )
        )
    return Survey(root, "colmap", tuple(photographs), model=model)


def check_pose(c2w: Float[np.ndarray, "3 4"], name: str, source: Path) -> Float[np.ndarray, "3 4"]:
    """Returns the pose if it is a finite position and a proper rotation; InputError otherwise."""
    rotation = c2w[:, :3]
    if not np.isfinite(c2w).all():
        problem = "holds numbers that are not finite"
    elif not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
        problem = "is not a rotation (its axes are not at right angles and of length 1)"
    elif np.linalg.det(rotation) < 0:
        problem = "is mirrored (its axes are left-handed)"
    else:
        return c2w
    raise InputError(f"{source}: the pose of {name} {problem}; register the photograph again or remove it")


def place_survey(
    survey: Survey, reference: GeodeticReference | None, local_origin: GeodeticReference | None = None
) -> PlacedSurvey:
    """Turns a survey's world into ENU metres about `reference`.

    Without one, the survey's own reference is taken, else the mean of its cameras. `local_origin` is where a
    survey has its zero that is neither ECEF nor says so itself; without it, such a survey is an InputError.
    """
    c2w = np.stack([photograph.c2w for photograph in survey.photographs])
    earth_centred = is_ecef(c2w[..., 3])
    own = None if earth_centred else survey.reference or local_origin
    if own is None and not earth_centred:
        far_m = np.abs(np.median(c2w[..., 3], axis=0)).max()
        raise InputError(
            f"the cameras of {survey.root} are not in ECEF (they stand {far_m:.0f} from zero) and nothing "
            "says where on Earth their zero lies; align the model to GPS in ECEF, or, if it is in metres "
            "with x east, y north and z up, give its origin with --enu-ref LATITUDE,LONGITUDE,HEIGHT"
        )
    named = own or survey.reference
    if reference is not None:
        target, how = reference, "as wanted"
    elif named is not None:
        target, how = named, "named by the survey"
    else:
        target, how = GeodeticReference.from_ecef(c2w[..., 3].mean(axis=0)), "mean of the cameras"
    c2w = _into(target, c2w, own)
    far_m = float(np.linalg.norm(np.median(c2w[..., 3], axis=0)))
    if far_m > _FARTHEST_M:
        raise InputError(
            f"the cameras of {survey.root} stand {far_m / 1000:.0f} km from the reference "
            f"{target.latitude_deg}, {target.longitude_deg}, {target.height_m}, more than "
            f"{_FARTHEST_M / 1000:.0f} km; check the order and signs of --enu-ref LATITUDE,LONGITUDE,HEIGHT"
        )
    return PlacedSurvey(survey, target, how, c2w, _points(survey, target, c2w, own))


def _into(reference: GeodeticReference, coordinates: np.ndarray, own: GeodeticReference | None) -> np.ndarray:
    """Points or poses, ENU about `own` or (None) ECEF, as ENU about `reference`."""
    if own == reference:
        return coordinates
    return ecef_to_enu(coordinates if own is None else enu_to_ecef(coordinates, own), reference)


def _points(
    survey: Survey,
    reference: GeodeticReference,
    c2w: Float[np.ndarray, "n 3 4"],
    own: GeodeticReference | None,
) -> Float[np.ndarray, "p 3"]:
    model = survey.model
    if model is None:
        return np.empty((0, 3))
    stands = np.stack([image.c2w[:, 3] for image in model.images])
    world = None if is_ecef(stands) else own
    if world is None and not is_ecef(stands):
        log.warning(
            "the sparse model of %s is not used: it is not in ECEF although the poses are", survey.root
        )
        return np.empty((0, 3))
    by_name = {photograph.name: pose[:, 3] for photograph, pose in zip(survey.photographs, c2w, strict=True)}
    stands = _into(reference, stands, world)
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
    return _into(reference, model.points_xyz, world)

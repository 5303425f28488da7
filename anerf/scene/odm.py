"""An OpenDroneMap (ODM, WebODM) project folder as a survey: what its OpenSfM step reconstructed.

Formats: `camera_from_json`, `shot_to_json` and `reconstructions_from_json` in OpenSfM's `opensfm/io.py`;
`cameras.json` from `get_cameras_from_opensfm` in ODM's `opendm/camera.py`. The lenses are in
`anerf.scene.opensfm_lens`.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.colmap import ColmapImage, ColmapModel
from anerf.scene.json_file import read_json, read_json_as, reference_in
from anerf.scene.opensfm_lens import OpensfmLens, lens_parameters
from anerf.scene.photographs import check_names, scale_to_photograph
from anerf.scene.survey import Photograph, Survey, check_pose

log = logging.getLogger(__name__)

RECONSTRUCTION_FILE = "opensfm/reconstruction.json"
_REFERENCE_FILE = "opensfm/reference_lla.json"
_CAMERAS_FILE = "cameras.json"
# OpenSfM cameras: x right, y down, z forward; ours: x right, y up, z back.
_FLIP = np.diag([1.0, -1.0, -1.0])
_RUN_AGAIN = "run ODM's opensfm step (odm --end-with opensfm) in this project, or give the project's folder"


class _Shot(BaseModel):
    """World to camera: `x_camera = R(rotation) x + translation`, rotation as axis times angle in radians."""

    model_config = ConfigDict(extra="ignore")

    camera: str
    rotation: tuple[float, float, float]
    translation: tuple[float, float, float]


class _Point(BaseModel):
    model_config = ConfigDict(extra="ignore")

    coordinates: tuple[float, float, float]
    color: tuple[float, float, float] = (128.0, 128.0, 128.0)


class _Place(BaseModel):
    model_config = ConfigDict(extra="ignore")

    latitude: float
    longitude: float
    altitude: float


class _Reconstruction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    cameras: dict[str, OpensfmLens] = Field(default_factory=dict)
    shots: dict[str, _Shot] = Field(default_factory=dict)
    points: dict[str, _Point] = Field(default_factory=dict)
    reference_lla: _Place | None = None


def read_odm_survey(root: Path) -> Survey:
    """A survey of an ODM project: `images/`, and cameras and points of its largest reconstruction.

    The world is OpenSfM's topocentric frame, ENU metres about `opensfm/reference_lla.json`; without that file
    the survey has no reference and needs one from the user. Intrinsics come from `cameras.json` at the
    project's root where that knows the camera. Photographs may be stored at another size than ODM worked at:
    OpenSfM's intrinsics do not depend on it. Masks are `images/<stem>_mask.*`, black where not to learn.

    Raises:
        InputError: a file is missing or damaged, a lens has no counterpart here, or a name cannot be used.
    """
    file = root / RECONSTRUCTION_FILE
    found = _largest(read_json_as(file, TypeAdapter(list[_Reconstruction]), _RUN_AGAIN), file)
    images = root / "images"
    if not images.is_dir():
        raise InputError(f"{root} has no images folder; put the project's photographs into {images}")
    check_names(found.shots, file)
    lenses, said_by = _lenses(root, found, file)
    masks = _masks(images, found)
    cameras: dict[tuple[str, int, int], Camera] = {}
    photographs = []
    for name, shot in found.shots.items():
        if shot.camera not in lenses:
            raise InputError(
                f"{file}: {name} was taken by the camera {shot.camera!r}, which is not listed; {_RUN_AGAIN}"
            )
        lens, source = lenses[shot.camera], images / name
        size = scale_to_photograph(source, (lens.width, lens.height), said_by[shot.camera])
        key = (shot.camera, *size)
        if key not in cameras:
            cameras[key] = _camera(shot.camera, lens, size, said_by[shot.camera])
        c2w = check_pose(_c2w(shot), name, file)
        photographs.append(Photograph(name, source, cameras[key], c2w, mask=masks.get(name)))
    return Survey(
        root,
        "odm",
        tuple(photographs),
        reference=_reference(root, found),
        model=_sparse_model(photographs, found, file),
    )


def _largest(reconstructions: list[_Reconstruction], file: Path) -> _Reconstruction:
    if not any(reconstruction.shots for reconstruction in reconstructions):
        raise InputError(f"{file} holds no reconstructed photograph; {_RUN_AGAIN}")
    largest = max(reconstructions, key=lambda reconstruction: len(reconstruction.shots))
    if len(reconstructions) > 1:
        n_others = sum(len(reconstruction.shots) for reconstruction in reconstructions) - len(largest.shots)
        log.warning(
            "%s holds %d reconstructions: the largest is taken (%d photographs), the others' %d photographs "
            "are not",
            file,
            len(reconstructions),
            len(largest.shots),
            n_others,
        )
    return largest


def _lenses(root: Path, found: _Reconstruction, file: Path) -> tuple[dict[str, OpensfmLens], dict[str, Path]]:
    """The lens of each camera of the reconstruction, and the file that says so.

    ODM writes `cameras.json` with OpenSfM's ids, of which it strips the version `v2 `.
    """
    lenses, said_by = dict(found.cameras), dict.fromkeys(found.cameras, file)
    override = root / _CAMERAS_FILE
    if not override.is_file():
        return lenses, said_by
    given: dict[str, OpensfmLens] = read_json_as(
        override, TypeAdapter(dict[str, OpensfmLens]), "export it again"
    )
    for name in {shot.camera: None for shot in found.shots.values()}:
        lens = given.get(name) or given.get(name.removeprefix("v2 "))
        if lens is None:
            continue
        if name in lenses and lens != lenses[name]:
            log.info("%s replaces what %s says about the camera %s", override, file, name)
        lenses[name], said_by[name] = lens, override
    return lenses, said_by


def _camera(name: str, lens: OpensfmLens, size: tuple[int, int], file: Path) -> Camera:
    try:
        model, parameters = lens_parameters(lens, size)
        return Camera(model, *size, parameters)
    except InputError as error:
        raise InputError(f"{file}: camera {name!r}: {error}") from None


def _masks(images: Path, found: _Reconstruction) -> dict[str, Path]:
    """Masks by photograph, `<stem>_mask.<any ending>` beside it; a photograph of a shot is never a mask."""
    shot_names = set(found.shots)
    folders = {(images / name).parent for name in shot_names}
    by_stem = {
        (path.parent, path.stem): path
        for folder in sorted(folders)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.stem.endswith("_mask") and path.relative_to(images).as_posix() not in shot_names
    }
    masks = {}
    for name in shot_names:
        photograph = images / name
        mask = by_stem.get((photograph.parent, f"{photograph.stem}_mask"))
        if mask is not None:
            masks[name] = mask
    return masks


def _reference(root: Path, found: _Reconstruction) -> GeodeticReference | None:
    file, place = root / _REFERENCE_FILE, found.reference_lla
    if file.is_file():
        place = read_json(file, _Place, _RUN_AGAIN)
    if place is None:
        log.warning("%s is missing: nothing says where on Earth the reconstruction lies", file)
        return None
    return reference_in(file, place.latitude, place.longitude, place.altitude)


def _c2w(shot: _Shot) -> Float[np.ndarray, "3 4"]:
    rotation = _rotation(np.array(shot.rotation)).T
    return np.column_stack((rotation @ _FLIP, -rotation @ np.array(shot.translation)))


def _rotation(axis_angle: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation about an axis by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(axis_angle))
    x, y, z = axis_angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    # sin(a)/a and (1 - cos(a))/a^2 through sinc, which is exact at zero.
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * half * half * cross @ cross


def _sparse_model(photographs: list[Photograph], found: _Reconstruction, file: Path) -> ColmapModel | None:
    """The points, with the photographs' poses and no observations: which pixels saw them is not there."""
    if not found.points:
        return None
    points = found.points.values()
    xyz = np.array([point.coordinates for point in points], dtype=np.float64)
    rgb = np.array([point.color for point in points], dtype=np.float64)
    finite = np.isfinite(xyz).all(axis=1) & np.isfinite(rgb).all(axis=1)
    if not finite.all():
        bad = list(found.points)[int(np.flatnonzero(~finite)[0])]
        raise InputError(f"{file}: point {bad} is not made of finite numbers; {_RUN_AGAIN}")
    cameras = {camera: number for number, camera in enumerate({p.camera: None for p in photographs}, start=1)}
    nothing_xy, nothing = np.empty((0, 2)), np.empty(0, np.int64)
    images = (
        ColmapImage(photograph.name, cameras[photograph.camera], photograph.c2w, nothing_xy, nothing)
        for photograph in photographs
    )
    return ColmapModel(
        {number: camera for camera, number in cameras.items()},
        tuple(images),
        xyz,
        np.clip(np.rint(rgb), 0, 255).astype(np.uint8),
        np.full(len(xyz), np.nan),
    )

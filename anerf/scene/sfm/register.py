"""New photographs among old ones: their poses in an existing survey, of which not one old pose moves.

Old poses are held while points are triangulated from old matches; new photographs are registered against
these points (COLMAP's incremental mapper with all old frames fixed), and only their poses are added to the
survey's model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference, is_ecef
from anerf.scene.colmap import read_colmap, stored_poses
from anerf.scene.folder import new_folder
from anerf.scene.gps import photograph_fixes
from anerf.scene.sfm.features import find_features, image_ids, match, opened
from anerf.scene.sfm.mapping import mapping_options
from anerf.scene.sfm.pairs import pairs_among, pairs_between
from anerf.scene.sfm.reconstruct import ReconstructOptions, enu_in_ecef, map_places
from anerf.scene.sfm.workplace import (
    StageProgress,
    Workplace,
    begin,
    find_photographs,
    find_workplace,
    quiet_colmap,
    take_file,
)
from anerf.scene.survey import model_folder
from anerf.scene.transforms import SPLIT_NAME


@dataclass(frozen=True)
class Registered:
    """What came of it; names are paths below the survey's `images/`."""

    survey: Path
    registered: tuple[str, ...]
    missing: tuple[str, ...]
    reprojection_px: float
    """Mean over the points that new photographs see."""


def register(
    survey: Path,
    images: Path,
    batch: str,
    progress: StageProgress,
    options: ReconstructOptions,
) -> Registered:
    """Finds where the photographs below `images` were taken, and adds those found to the survey as
    `images/<batch>/`.

    The survey may be one of `reconstruct` or any with a COLMAP model. Old poses stay as they are, to the
    last bit. InputError if none of the photographs has enough in common with the survey.
    """
    quiet_colmap()
    folder = _checked_folder(survey, batch)
    old = pycolmap.Reconstruction(folder)
    old_images = {image.name: image for image in (old.image(i) for i in old.reg_image_ids())}
    names = [f"{batch}/{name}" for name in find_photographs(images)]
    added = [name for name in names if name not in old_images]
    if not added:
        raise InputError(
            f"{survey} holds all photographs of {images} as {batch}; bring others or another --batch"
        )
    for name in added:
        take_file(images / name.removeprefix(f"{batch}/"), survey / "images" / name)

    workplace = (find_workplace(survey) or _begin(survey, old_images, options)).extended(added)
    known = {
        photograph.camera: old.camera(old_images[photograph.name].camera_id)
        for photograph in workplace.photographs
        if photograph.name in old_images
    }
    find_features(
        workplace,
        progress,
        camera_model=options.camera_model,
        max_image_px=options.max_image_px,
        known_cameras=known,
    )
    frame = _Local.of(np.stack([image.projection_center() for image in old_images.values()]))
    match(workplace, _pairs(workplace, old_images, frame, set(added), options.neighbours), progress)
    grown = _locate(workplace, old, old_images, frame, progress, options.seed)

    number_of = {photograph.name: photograph.number for photograph in workplace.photographs}
    by_number = {image.name: image for image in (grown.image(i) for i in grown.reg_image_ids())}
    found = [name for name in added if number_of[name] in by_number]
    if not found:
        raise InputError(
            f"none of the {len(added)} photographs of {images} has enough in common with {survey}: check "
            "that they show the same ground, from a similar height and side"
        )
    news = [by_number[number_of[name]] for name in found]
    _add(old, grown, dict(zip(found, news, strict=True)), frame)
    _write(old, folder)
    missing = tuple(name for name in added if name not in found)
    return Registered(survey, tuple(found), missing, _reprojection_px(grown, news))


def _checked_folder(survey: Path, batch: str) -> Path:
    if not SPLIT_NAME.fullmatch(batch) or batch in ("train", "val"):
        raise InputError(f"{batch!r} cannot name a flight; use up to 64 letters, digits, dots and dashes")
    folder = model_folder(survey)
    if folder is None or not (survey / "images").is_dir():
        raise InputError(
            f"{survey} is no survey with images/ and a COLMAP model to register among; make one with "
            "anerf reconstruct"
        )
    read_colmap(folder)  # says in words what pycolmap would end the process over
    return folder


@dataclass(frozen=True, eq=False)
class _Local:
    """Metres near the survey, because ECEF's millions cost the geometry its digits; the model's frame if
    that is local."""

    about: GeodeticReference | None
    to_model: pycolmap.Sim3d

    @classmethod
    def of(cls, cameras: Float[np.ndarray, "n 3"]) -> "_Local":
        if not is_ecef(cameras):
            return cls(None, pycolmap.Sim3d())
        about = GeodeticReference.from_ecef(cameras.mean(axis=0))
        ecef = enu_in_ecef(about)
        return cls(about, pycolmap.Sim3d(1.0, pycolmap.Rotation3d(ecef.rotation), ecef.translation))


def _begin(survey: Path, old_images: dict[str, pycolmap.Image], options: ReconstructOptions) -> Workplace:
    """A workplace for a survey that was reconstructed elsewhere; its cameras are kept apart as its model
    has them."""
    names = sorted(old_images)
    cameras = [str(old_images[name].camera_id) for name in names]
    return begin(survey, names, options.settings, cameras)


def _pairs(
    workplace: Workplace,
    old_images: dict[str, pycolmap.Image],
    frame: _Local,
    added: set[str],
    neighbours: int,
) -> list[tuple[int, int]]:
    """Pairs (positions in the workplace) among old photographs, among new ones and between them."""
    old = [i for i, photograph in enumerate(workplace.photographs) if photograph.name in old_images]
    new = [i for i, photograph in enumerate(workplace.photographs) if photograph.name in added]
    to_local = frame.to_model.inverse()
    old_at = np.stack(
        [(to_local * old_images[workplace.photographs[i].name].projection_center())[:2] for i in old]
    )
    new_names = [workplace.photographs[i].name for i in new]
    fixes = photograph_fixes(
        workplace.survey, new_names, [workplace.survey / "images" / n for n in new_names]
    )
    new_at = np.full((len(new), 2), np.nan) if frame.about is None else map_places(fixes, frame.about)
    pairs = [(old[i], old[j]) for i, j in pairs_among(old_at, len(old), neighbours)]
    pairs += [(new[i], new[j]) for i, j in pairs_among(new_at, len(new), neighbours)]
    return pairs + [(new[i], old[j]) for i, j in pairs_between(new_at, old_at, neighbours)]


def _locate(
    workplace: Workplace,
    old: pycolmap.Reconstruction,
    old_images: dict[str, pycolmap.Image],
    frame: _Local,
    progress: StageProgress,
    seed: int,
) -> pycolmap.Reconstruction:
    """A model in the local frame of old photographs, held where they are, and new ones."""
    ids = image_ids(workplace.database)
    held = pycolmap.Reconstruction()
    with opened(workplace.database) as connection:
        held.load(
            pycolmap.DatabaseCache.create(connection, pycolmap.DatabaseCacheOptions(load_all_images=True))
        )
    constant_cameras = set()
    for photograph in workplace.photographs:
        if photograph.name not in old_images:
            continue
        was, image = old_images[photograph.name], held.image(ids[photograph.number])
        camera = held.camera(image.camera_id)
        camera.mergedict(old.camera(was.camera_id).todict() | {"camera_id": image.camera_id})
        constant_cameras.add(image.camera_id)
        pose = pycolmap.Rigid3d(
            was.cam_from_world().rotation * frame.to_model.rotation,
            was.cam_from_world() * frame.to_model.translation,
        )
        held.frame(image.frame_id).set_cam_from_world(image.camera_id, pose)
        held.register_frame(image.frame_id)
    mapping = mapping_options(held.cameras.values(), seed)
    with new_folder(workplace.root / "held") as partial:
        held = pycolmap.triangulate_points(
            held, workplace.database, workplace.images, partial, options=mapping
        )
        held.write(partial)
    n_new = len(workplace.photographs) - len(old_images)
    progress("poses", 0, n_new)
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        progress("poses", min(done, n_new), n_new)

    mapping.fix_existing_frames = True
    mapping.constant_cameras = constant_cameras
    with new_folder(workplace.root / "located") as partial:
        models = pycolmap.incremental_mapping(
            workplace.database,
            workplace.images,
            partial,
            options=mapping,
            input_path=workplace.root / "held",
            next_image_callback=one_more,
        )
    progress("poses", n_new, n_new)
    return max(models.values(), key=lambda model: model.num_reg_images(), default=held)


def _add(
    old: pycolmap.Reconstruction,
    grown: pycolmap.Reconstruction,
    found: dict[str, pycolmap.Image],
    frame: _Local,
) -> None:
    """Adds photographs to the old model, with cameras of their own so that no old one is touched."""
    to_local = frame.to_model.inverse()
    camera_ids: dict[int, int] = {}
    next_camera = 1 + max([*old.cameras, *old.rigs])
    next_image = 1 + max([*old.images, *old.frames])
    for name, image in found.items():
        if image.camera_id not in camera_ids:
            camera_ids[image.camera_id] = next_camera
            camera = pycolmap.Camera(grown.camera(image.camera_id).todict())
            camera.camera_id = next_camera
            old.add_camera_with_trivial_rig(camera)
            next_camera += 1
        there = image.cam_from_world()
        pose = pycolmap.Rigid3d(there.rotation * to_local.rotation, there * to_local.translation)
        new = pycolmap.Image(name=name, camera_id=camera_ids[image.camera_id], image_id=next_image)
        old.add_image_with_trivial_frame(new, pose)
        next_image += 1


def _write(model: pycolmap.Reconstruction, folder: Path) -> None:
    """Replaces the model; an old pose that would change by a bit stops it."""
    before = stored_poses(folder)
    with new_folder(folder) as partial:
        for file in folder.iterdir():
            if file.is_file() and file.suffix != ".bin":
                take_file(file, partial / file.name)
        model.write(partial)
        after = stored_poses(partial)
        moved = [name for name, pose in before.items() if after.get(name) != pose]
        if moved:
            raise InputError(
                f"{folder}: registering would move the old pose of {moved[0]} ({len(moved)} in all), so "
                "nothing was changed; write the model again with COLMAP's model_converter"
            )


def _reprojection_px(model: pycolmap.Reconstruction, images: Sequence[pycolmap.Image]) -> float:
    off = []
    for image in images:
        for seen in image.points2D:
            if seen.has_point3D():
                at = image.project_point(model.point3D(seen.point3D_id).xyz)
                if at is not None:
                    off.append(float(np.linalg.norm(at - seen.xy)))
    return float(np.mean(off)) if off else float("nan")

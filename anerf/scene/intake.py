"""Takes a survey's photographs into a scene folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from anerf.errors import InputError
from anerf.scene.frames import Frame
from anerf.scene.lens_masks import with_lens_masks
from anerf.scene.odm import RECONSTRUCTION_FILE, read_odm_survey
from anerf.scene.older import COORDINATES_FILE, read_older_survey, write_tensor_mask
from anerf.scene.photographs import copy_photograph
from anerf.scene.placing import PlacedSurvey
from anerf.scene.survey import MODEL_FOLDERS, Photograph, Survey, model_folder, read_colmap_survey
from anerf.scene.tensor_file import TENSOR_ENDING
from anerf.scene.threads import Progress, on_threads
from anerf.scene.transforms import TRANSFORMS_FILE, read_transforms_survey

SurveyKind = Literal["auto", "colmap", "transforms", "odm", "older"]


def read_survey(root: Path, kind: SurveyKind = "auto") -> Survey:
    """Reads the poses of a survey folder.

    `auto` takes the first that is there: a COLMAP model, `transforms.json`, an ODM project's reconstruction,
    a folder prepared by the older system.
    """
    if not root.is_dir():
        raise InputError(
            f"{root} is no folder; give the folder that holds images/ and model/, transforms.json, an ODM "
            "project or what the older system prepared"
        )
    if kind == "colmap" or (kind == "auto" and model_folder(root) is not None):
        return read_colmap_survey(root)
    if kind == "transforms" or (kind == "auto" and (root / TRANSFORMS_FILE).is_file()):
        return read_transforms_survey(root)
    if kind == "odm" or (kind == "auto" and (root / RECONSTRUCTION_FILE).is_file()):
        return read_odm_survey(root)
    if kind == "older" or (root / COORDINATES_FILE).is_file():
        return read_older_survey(root)
    raise InputError(
        f"{root} is no survey: it has neither a COLMAP model (in {', '.join(MODEL_FOLDERS)}) nor "
        f"{TRANSFORMS_FILE}, {RECONSTRUCTION_FILE} or {COORDINATES_FILE}; reconstruct the photographs first"
    )


def take_photographs(
    placed: PlacedSurvey,
    splits: Sequence[tuple[int, str]],
    images: Path,
    masks: Path,
    *,
    prefix: str = "",
    first_id: int = 0,
    progress: Progress | None = None,
) -> tuple[Frame, ...]:
    """Copies photographs and masks and returns their frames, with ids from `first_id` in the order given.

    `splits` says which photographs of the survey (by position) and for what. The copies go below `images` and
    `masks`; the table calls them `images/<prefix><name>`. InputError for what cannot be learned from.

    Photographs without a mask get one of what no picture of their camera shows, if there is such: black
    borders of pictures that came undistorted, and where the lens has no picture (`cameras.seen_pixels`). A
    photograph with a mask keeps it as it is, but for the latter.
    """
    photographs = placed.survey.photographs
    used_masks = {photographs[position].mask for position, _ in splits} - {None}
    mask_sizes = {
        mask: _take_mask(mask, masks / _mask_name(placed.survey, mask))
        for mask in sorted(mask for mask in used_masks if mask is not None)
    }

    def take(item: tuple[int, tuple[int, str]]) -> Frame:
        number, (position, split) = item
        photograph = photographs[position]
        facts = copy_photograph(photograph.source, images / photograph.name)
        _check_size(facts.size, photograph, photograph.source)
        mask = None
        if photograph.mask is not None:
            _check_size(mask_sizes[photograph.mask], photograph, photograph.mask)
            mask = f"masks/{prefix}{_mask_name(placed.survey, photograph.mask)}"
        return Frame(
            id=first_id + number,
            file=f"images/{prefix}{photograph.name}",
            split=split,
            camera=photograph.camera,
            c2w=placed.c2w[position],
            captured_at=facts.captured_at,
            exposure_s=facts.exposure_s,
            sha256=facts.sha256,
            mask=mask,
            gps=placed.fixes[position],
        )

    return with_lens_masks(tuple(on_threads(take, list(enumerate(splits)), progress)), images, masks, prefix)


def _check_size(size: tuple[int, int], photograph: Photograph, file: Path) -> None:
    camera = photograph.camera
    if size != (camera.width, camera.height):
        raise InputError(
            f"{file} has {size[0]} x {size[1]} pixels but the camera of {photograph.name} has "
            f"{camera.width} x {camera.height}; bring photographs and masks as they were reconstructed"
        )


def _take_mask(source: Path, target: Path) -> tuple[int, int]:
    """Copies a mask, or turns a tensor into a picture; its width and height."""
    if source.suffix == TENSOR_ENDING:
        return write_tensor_mask(source, target)
    return copy_photograph(source, target).size


def _mask_name(survey: Survey, mask: Path) -> str:
    """The path below the scene's `masks/`."""
    file = mask.with_suffix(".png") if mask.suffix == TENSOR_ENDING else mask
    return file.relative_to(survey.root).as_posix().removeprefix("masks/")

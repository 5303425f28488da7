"""Where a reconstruction is worked on: `<survey>/reconstruction/`, which a later run goes on from.

Photographs appear there under numbers, because COLMAP's lists of pairs know no names with spaces.
"""

import filecmp
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pycolmap
from PIL import ExifTags, Image
from pydantic import BaseModel, ConfigDict, ValidationError

from anerf.errors import InputError
from anerf.scene.photographs import UNREADABLE, check_names

log = logging.getLogger(__name__)

FOLDER = "reconstruction"
_INDEX = "photographs.json"
_APART = " # "
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}

StageProgress = Callable[[str, int, int], None]
"""Called with the stage's name and how many of how many are done."""


@dataclass(frozen=True)
class Numbered:
    """A photograph of the survey as COLMAP knows it."""

    name: str
    """Path below the survey's `images/`."""
    number: str
    """File name below the workplace's `photographs/`."""
    n_bytes: int
    camera: str
    """The same for photographs of one camera at one focal length."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    number: str
    n_bytes: int
    camera: str


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid")

    settings: dict[str, str | int]
    photographs: list[_Entry]


@dataclass(frozen=True)
class Workplace:
    """The folder of a reconstruction in progress, its settings and its photographs in the order of their
    names."""

    survey: Path
    settings: dict[str, str | int]
    photographs: tuple[Numbered, ...]

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.survey / FOLDER

    @property
    def database(self) -> Path:
        """COLMAP's features and matches."""
        return self.root / "database.db"

    @property
    def images(self) -> Path:
        """The photographs under their numbers."""
        return self.root / "photographs"

    def extended(self, names: Sequence[str]) -> "Workplace":
        """The same with photographs of the survey that it does not hold yet; saved.

        Those that a known camera took, by their EXIF and size, share it.
        """
        known = {photograph.name for photograph in self.photographs}
        cameras = {p.camera.partition(_APART)[0]: p.camera for p in reversed(self.photographs)}
        added = []
        for name in names:
            if name not in known:
                new = _numbered(self.survey / "images", name, len(known) + len(added))
                added.append(replace(new, camera=cameras.get(new.camera, new.camera)))
        grown = Workplace(self.survey, self.settings, (*self.photographs, *added))
        _save(grown)
        return grown


def find_photographs(images: Path) -> list[str]:
    """Names of the pictures below a folder, sorted; InputError when there is none, or one is none."""
    if not images.is_dir():
        raise InputError(f"{images} is no folder; give the folder that holds the photographs")
    if (images / "images").is_dir():
        raise InputError(f"{images} holds a folder images; give {images / 'images'}, or move it out")
    names = sorted(
        file.relative_to(images).as_posix()
        for file in images.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(images).parts)
    )
    if not names:
        raise InputError(f"{images} holds no photograph ({', '.join(sorted(_SUFFIXES))}); give their folder")
    check_names(names, images)
    for i, name in enumerate(names):
        _numbered(images, name, i)  # says which one cannot be read before any is taken
    return names


def begin(
    survey: Path, names: Sequence[str], settings: dict[str, str | int], cameras: Sequence[str] | None = None
) -> Workplace:
    """Starts a workplace for photographs in the survey's `images/`, or goes on in the one that is there.

    `cameras` keeps photographs apart that EXIF and size do not tell apart, where the survey knows their
    cameras. InputError if that was begun with other photographs or settings.
    """
    photographs = tuple(_numbered(survey / "images", name, i) for i, name in enumerate(names))
    if cameras is not None:
        photographs = tuple(
            replace(photograph, camera=f"{photograph.camera}{_APART}{camera}")
            for photograph, camera in zip(photographs, cameras, strict=True)
        )
    wanted = Workplace(survey, settings, photographs)
    found = find_workplace(survey)
    if found is None:
        _save(wanted)
        return wanted
    if found != wanted:
        what = "settings" if found.settings != settings else "photographs"
        raise InputError(
            f"{wanted.root} was begun with other {what}; go on with those, remove the folder, or give "
            "another --out"
        )
    log.info("going on in %s", wanted.root)
    return wanted


def find_workplace(survey: Path) -> Workplace | None:
    """The survey's workplace; None where there is none, InputError where it is damaged."""
    file = survey / FOLDER / _INDEX
    if not file.is_file():
        return None
    try:
        data = _Index.model_validate_json(file.read_bytes())
    except (ValidationError, OSError) as error:
        raise InputError(f"{file} is damaged ({error}); remove {file.parent} and begin again") from None
    return Workplace(
        survey, data.settings, tuple(Numbered(**entry.model_dump()) for entry in data.photographs)
    )


def take_file(source: Path, target: Path) -> None:
    """The same file at `target`, without a second copy of its bytes where the disk allows."""
    if target.is_file() and (target.samefile(source) or filecmp.cmp(source, target)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.link(source, partial)
    except OSError:
        # Another disk, or one without links.
        shutil.copyfile(source, partial)
    partial.replace(target)


def _numbered(images: Path, name: str, i: int) -> Numbered:
    file = images / name
    try:
        with Image.open(file) as picture:
            exif = picture.getexif()
            facts = (
                *picture.size,
                exif.get(ExifTags.Base.Make),
                exif.get(ExifTags.Base.Model),
                exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLength),
            )
    except UNREADABLE as error:
        raise InputError(
            f"photograph {file} cannot be read ({error}); copy it from the camera again or remove it"
        ) from None
    camera = " ".join(str(fact).strip("\0 ") for fact in facts if fact is not None)
    return Numbered(name, f"{i:06d}{file.suffix.lower()}", file.stat().st_size, camera)


def _save(workplace: Workplace) -> None:
    workplace.images.mkdir(parents=True, exist_ok=True)
    for photograph in workplace.photographs:
        link = workplace.images / photograph.number
        if not link.is_symlink():
            link.symlink_to(Path("../../images") / photograph.name)
    entries = [_Entry(**vars(photograph)) for photograph in workplace.photographs]
    partial = workplace.root / f".{_INDEX}.{os.getpid()}"
    text = _Index(settings=workplace.settings, photographs=entries).model_dump()
    partial.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    partial.replace(workplace.root / _INDEX)


def quiet_colmap() -> None:
    """COLMAP writes hundreds of lines; only its errors are for people."""
    pycolmap.logging.minloglevel = 2

"""Photographs as files: names that are safe to copy, contents that can be decoded, and what EXIF tells."""

import hashlib
import io
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

from anerf.errors import InputError

# Pillow reports damaged files in these ways, depending on the format and the place of the damage.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_EIGHT_BIT_MODES = {"1", "RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "CMYK", "YCbCr"}
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


@dataclass(frozen=True)
class PhotographFacts:
    """What a photograph's bytes say about themselves."""

    sha256: str
    size: tuple[int, int]
    """Width and height in pixels, as stored: an EXIF orientation is not applied, as in COLMAP."""
    captured_at: str | None
    exposure_s: float | None


def check_names(names: Iterable[str], source: Path) -> None:
    """InputError for a name that leaves its folder or appears twice in `source`."""
    seen: set[str] = set()
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith(("/", "~")) or ".." in parts or re.search(r"[\\\x00-\x1f:]", name):
            raise InputError(
                f"{source} names the photograph {name!r}, which is no plain path inside the images folder; "
                "rename the photograph and its entry"
            )
        plain = PurePosixPath(name).as_posix()
        if plain in seen:
            raise InputError(f"{source} names the photograph {name} twice; remove one of the two entries")
        seen.add(plain)


def copy_photograph(source: Path, target: Path) -> PhotographFacts:
    """Copies a photograph byte by byte and decodes it once; InputError when it is missing or damaged."""
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"photograph {source} is missing; put it there or remove it from the reconstruction"
        ) from None
    except OSError as error:
        raise InputError(f"photograph {source} cannot be read ({error.strerror}); check its rights") from None
    facts = _inspect(data, source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror}); make room or choose another --out"
        ) from None
    return facts


def _inspect(data: bytes, source: Path) -> PhotographFacts:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, size = picture.mode, picture.size
            captured_at, exposure_s = _exif(picture)
            # Decodes every byte, but only as many pixels as the format lets us skip.
            picture.draft(None, (picture.width // 8, picture.height // 8))
            picture.load()
    except UNREADABLE as error:
        raise InputError(
            f"photograph {source} ({len(data)} bytes) cannot be decoded ({error}); "
            "copy it from the camera again or remove it from the reconstruction"
        ) from None
    if mode not in _EIGHT_BIT_MODES:
        raise InputError(f"photograph {source} has pixels of type {mode}; convert it to 8-bit RGB")
    return PhotographFacts(hashlib.sha256(data).hexdigest(), size, captured_at, exposure_s)


def _exif(picture: Image.Image) -> tuple[str | None, float | None]:
    """Capture time (ISO 8601) and exposure time; None for what is absent or unreadable."""
    try:
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        taken = details.get(ExifTags.Base.DateTimeOriginal, exif.get(ExifTags.Base.DateTime))
        offset = details.get(ExifTags.Base.OffsetTimeOriginal)
        exposure = details.get(ExifTags.Base.ExposureTime)
        exposure_s = float(exposure) if exposure else None
    except (*UNREADABLE, struct.error, KeyError, TypeError, ZeroDivisionError):
        # EXIF is a courtesy of the camera: a photograph with damaged EXIF is still a photograph.
        return None, None
    return _iso_time(taken, offset), exposure_s


def _iso_time(taken: object, offset: object) -> str | None:
    match = _TIME.match(str(taken))
    if match is None:
        return None
    year, month, day, clock = match.groups()
    zone = str(offset) if _OFFSET.fullmatch(str(offset)) else ""
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{zone}").isoformat()
    except ValueError:
        return None

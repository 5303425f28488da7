"""Photographs as files: names that are safe to copy, contents that can be decoded, and what EXIF tells."""

import hashlib
import io
import re
import struct
import unicodedata
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
    """InputError for a name that leaves its folder, is no text, or appears twice in `source`.

    Names that differ only in how Unicode composes their letters (NFC, NFD) are the same: they look alike, and
    on some file systems are one file.
    """
    seen: set[str] = set()
    for name in names:
        parts = PurePosixPath(name).parts
        odd = re.search(r"[\\\x00-\x1f\x7f:\ud800-\udfff]", name)
        if not parts or name.startswith(("/", "~")) or ".." in parts or odd:
            raise InputError(
                f"{source} names the photograph {name!r}, which is no plain path inside the images folder; "
                "rename the photograph and its entry"
            )
        plain = unicodedata.normalize("NFC", PurePosixPath(name).as_posix())
        if plain in seen:
            raise InputError(f"{source} names the photograph {name} twice; remove one of the two entries")
        seen.add(plain)


def copy_photograph(source: Path, target: Path) -> PhotographFacts:
    """Copies a photograph byte by byte and decodes it once; InputError when it is missing or damaged.

    A link is followed: what it points to is copied, and only if that is a picture.
    """
    data = _read(source)
    facts = _inspect(data, source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror}); make room or choose another --out"
        ) from None
    return facts


def photograph_size(source: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's head alone; InputError when it is missing or no picture."""
    try:
        with Image.open(source) as picture:
            return picture.size
    except UNREADABLE as error:
        raise _undecodable(source, len(_read(source)), error) from None


def scale_to_photograph(source: Path, size: tuple[int, int], origin: Path) -> tuple[int, int]:
    """The size at which a photograph is stored, if it is `size` (by `origin`) scaled alike on both sides.

    Poses stay true when photographs are stored at another size. InputError where the sides differ by more
    than rounding: then it is cropped or another photograph.
    """
    (width, height), (full_width, full_height) = photograph_size(source), size
    off = abs(width * full_height - height * full_width)
    if full_width < 1 or full_height < 1 or off > max(full_width, full_height):
        raise InputError(
            f"{source} has {width} x {height} pixels, which is not {full_width} x {full_height} (as {origin} "
            "says) at another scale; bring the photographs as they were reconstructed"
        )
    return width, height


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"photograph {source} is missing; put it there or remove it from the reconstruction"
        ) from None
    except IsADirectoryError:
        raise InputError(f"photograph {source} is a folder; put the photograph in its place") from None
    except OSError as error:
        raise InputError(f"photograph {source} cannot be read ({error.strerror}); check its rights") from None


def _undecodable(source: Path, n_bytes: int, error: Exception) -> InputError:
    return InputError(
        f"photograph {source} ({n_bytes} bytes) cannot be decoded ({error}); copy it from the camera again "
        "or remove it from the reconstruction"
    )


def _inspect(data: bytes, source: Path) -> PhotographFacts:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, size = picture.mode, picture.size
            captured_at, exposure_s = _exif(picture)
            # Decodes every byte, but only as many pixels as the format lets us skip.
            picture.draft(None, (picture.width // 8, picture.height // 8))
            picture.load()
            transparent = _is_transparent(picture)
    except UNREADABLE as error:
        raise _undecodable(source, len(data), error) from None
    if mode not in _EIGHT_BIT_MODES:
        raise InputError(f"photograph {source} has pixels of type {mode}; convert it to 8-bit RGB")
    if transparent:
        raise InputError(
            f"photograph {source} has transparent pixels, of which nobody knows the colour; save it without "
            "transparency and say in a mask (0: do not learn from this pixel) where there is nothing"
        )
    return PhotographFacts(hashlib.sha256(data).hexdigest(), size, captured_at, exposure_s)


def _is_transparent(picture: Image.Image) -> bool:
    """Whether some pixel is not opaque: an alpha channel alone does no harm."""
    if not picture.has_transparency_data:
        return False
    lowest, _ = picture.convert("RGBA").getchannel("A").getextrema()
    return not isinstance(lowest, tuple) and lowest < 255


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

"""Where a photograph says it was taken: EXIF, or a table that came with the survey.

Heights are taken as metres above the WGS 84 ellipsoid. Many cameras write metres above sea level instead,
which nothing in a file tells apart; the check of the georeference shows such an offset.
"""

import csv
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pymap3d
from jaxtyping import Float
from PIL import ExifTags, Image

from anerf.errors import InputError
from anerf.scene.photographs import UNREADABLE
from anerf.scene.threads import on_threads

GPS_FILE = "gps.csv"
_COLUMNS = {
    "latitude_deg": ("lat_deg", "latitude_deg", "latitude", "lat"),
    "longitude_deg": ("lon_deg", "longitude_deg", "longitude", "lon"),
    "height_m": ("alt_m", "height_m", "altitude_m", "altitude", "alt", "height"),
}


@dataclass(frozen=True)
class GpsFix:
    """A WGS 84 position; the height (metres) is None where the camera recorded none."""

    latitude_deg: float
    longitude_deg: float
    height_m: float | None = None

    def __post_init__(self) -> None:
        """Refuses what is no place on Earth."""
        height = 0.0 if self.height_m is None else self.height_m
        if not (abs(self.latitude_deg) <= 90 and abs(self.longitude_deg) <= 180 and math.isfinite(height)):
            raise InputError(
                f"latitude {self.latitude_deg}, longitude {self.longitude_deg}, height {self.height_m} is no "
                "place on Earth; give WGS 84 degrees and metres"
            )


def photograph_fixes(root: Path, names: Sequence[str], files: Sequence[Path]) -> list[GpsFix | None]:
    """Where each photograph was taken: by `<root>/gps.csv` where that names it, else by its EXIF."""
    table = read_gps_table(root / GPS_FILE) if (root / GPS_FILE).is_file() else {}

    def fix(item: tuple[str, Path]) -> GpsFix | None:
        name, file = item
        return table.get(name) or table.get(Path(name).name) or exif_fix(file)

    return on_threads(fix, list(zip(names, files, strict=True)))


def exif_fix(file: Path) -> GpsFix | None:
    """The place in a photograph's EXIF; None where there is none, or none that can be read."""
    try:
        with Image.open(file) as picture:
            gps = picture.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        latitude, longitude = (
            _degrees(gps[tag]) * (-1.0 if gps.get(ref) in negative else 1.0)
            for tag, ref, negative in (
                (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, ("S", b"S")),
                (ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, ("W", b"W")),
            )
        )
        height_m = None
        if ExifTags.GPS.GPSAltitude in gps:
            below = gps.get(ExifTags.GPS.GPSAltitudeRef) in (b"\x01", 1)
            height_m = float(gps[ExifTags.GPS.GPSAltitude]) * (-1.0 if below else 1.0)
        # Cameras without reception write zeros.
        if latitude == 0 and longitude == 0:
            return None
        return GpsFix(latitude, longitude, height_m)
    except (*UNREADABLE, InputError, struct.error, KeyError, TypeError, ZeroDivisionError):
        # EXIF is a courtesy of the camera; whether the photograph itself can be read is judged elsewhere.
        return None


def read_gps_table(file: Path) -> dict[str, GpsFix]:
    """Positions by photograph from a CSV with the columns `name,lat_deg,lon_deg,alt_m` (heights optional)."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file} cannot be read as a table of GPS positions ({error}); export it as CSV"
        ) from None
    header = {str(column).strip().lower(): column for column in (rows[0] if rows else ())}
    present = {key: next((header[n] for n in names if n in header), None) for key, names in _COLUMNS.items()}
    if "name" not in header or present["latitude_deg"] is None or present["longitude_deg"] is None:
        raise InputError(
            f"{file} has not the columns name, lat_deg, lon_deg and alt_m in its first line; add them"
        )
    fixes: dict[str, GpsFix] = {}
    for number, row in enumerate(rows, start=2):
        try:
            values = [
                float(row[column]) if column is not None and row[column] else None
                for column in (present[key] for key in _COLUMNS)
            ]
            if values[0] is None or values[1] is None or not row[header["name"]]:
                raise ValueError("a name, a latitude or a longitude is missing")
            fixes[row[header["name"]]] = GpsFix(values[0], values[1], values[2])
        except (ValueError, TypeError, InputError) as error:
            raise InputError(f"{file}, line {number}: {error}; correct or remove the line") from None
    return fixes


def fixes_ecef(fixes: Sequence[GpsFix]) -> Float[np.ndarray, "n 3"]:
    """ECEF metres of fixes, which must all have heights."""
    places = [(fix.latitude_deg, fix.longitude_deg, fix.height_m) for fix in fixes]
    latitude, longitude, height = np.array(places, dtype=np.float64).reshape(-1, 3).T
    return np.stack(pymap3d.geodetic2ecef(latitude, longitude, height), axis=-1)


def _degrees(parts: Sequence[float]) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600

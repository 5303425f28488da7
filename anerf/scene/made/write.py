"""The made survey's files: JPEG photographs with EXIF, and the truth beside them."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.scene.made.flights import FOV_X_DEG, Station
from anerf.scene.truth import changed_file, depth_file

JPEG_QUALITY = 92
EXPOSURE_S = Fraction(1, 800)


def _rational(value: float, denominator: int) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(round(value * denominator), denominator)


def _degrees(angle: float) -> tuple[TiffImagePlugin.IFDRational, ...]:
    """EXIF's degrees, minutes and seconds, to about a millimetre on the ground."""
    whole = int(angle)
    minutes = int((angle - whole) * 60)
    seconds = ((angle - whole) * 60 - minutes) * 60
    return _rational(whole, 1), _rational(minutes, 1), _rational(seconds, 100_000)


def exif_of(station: Station, reference: GeodeticReference) -> Image.Exif:
    """What a drone writes: place (height over the ellipsoid), time, exposure, camera."""
    latitude, longitude, height = enu_to_geodetic(station.c2w[:, 3], reference).tolist()
    exif = Image.Exif()
    taken = station.captured_at.strftime("%Y:%m:%d %H:%M:%S")
    zone = station.captured_at.strftime("%z")
    exif[ExifTags.Base.Make] = "anerf"
    exif[ExifTags.Base.Model] = "made survey"
    exif[ExifTags.Base.DateTime] = taken
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = taken
    details[ExifTags.Base.OffsetTimeOriginal] = f"{zone[:3]}:{zone[3:]}"
    details[ExifTags.Base.ExposureTime] = TiffImagePlugin.IFDRational(
        EXPOSURE_S.numerator, EXPOSURE_S.denominator
    )
    details[ExifTags.Base.FocalLengthIn35mmFilm] = round(18.0 / np.tan(np.deg2rad(FOV_X_DEG) / 2))
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = _degrees(abs(latitude))
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if longitude >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = _degrees(abs(longitude))
    gps[ExifTags.GPS.GPSAltitudeRef] = b"\x00"
    gps[ExifTags.GPS.GPSAltitude] = _rational(height, 1000)
    gps[ExifTags.GPS.GPSMapDatum] = "WGS-84"
    return exif


def write_photograph(folder: Path, station: Station, rgb: np.ndarray, reference: GeodeticReference) -> None:
    """Writes `<stem>.jpg`, colours at full resolution."""
    picture = Image.fromarray(rgb)
    exif = exif_of(station, reference)
    picture.save(folder / f"{station.stem}.jpg", quality=JPEG_QUALITY, subsampling=0, exif=exif)


def write_truth(flight: Path, station: Station, depth_m: np.ndarray, changed: np.ndarray) -> None:
    """Writes what is true of the photograph of `station` into the folder of its flight.

    `depth_m` (h, w) is metres along the ray of each pixel's centre, `changed` (h, w) what the event changed.
    """
    depth, mask = depth_file(flight, f"{station.stem}.jpg"), changed_file(flight, f"{station.stem}.jpg")
    for path in (depth, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.save(depth, depth_m.astype(np.float32), allow_pickle=False)
    Image.fromarray(np.where(changed, 255, 0).astype(np.uint8)).save(mask)


def write_json(path: Path, content: dict[str, object]) -> None:
    """Writes readable JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")

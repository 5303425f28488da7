"""GPS of photographs: EXIF and tables, whole and damaged."""

import numpy as np
import pymap3d
import pytest
from PIL import ExifTags, Image

from anerf.errors import InputError
from anerf.scene.gps import GpsFix, exif_fix, fixes_ecef, photograph_fixes, read_gps_table


def _photograph(path, **gps):
    exif = Image.Exif()
    ifd = exif.get_ifd(ExifTags.IFD.GPSInfo)
    for name, value in gps.items():
        ifd[getattr(ExifTags.GPS, name)] = value
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


PLACE = {
    "GPSLatitudeRef": "S",
    "GPSLatitude": (33.0, 30.0, 36.0),
    "GPSLongitudeRef": "W",
    "GPSLongitude": (18.0, 15.0, 0.0),
    "GPSAltitudeRef": b"\x00",
    "GPSAltitude": 120.5,
}


def test_exif_by_hand(tmp_path):
    fix = exif_fix(_photograph(tmp_path / "a.jpg", **PLACE))
    assert fix is not None
    assert (fix.latitude_deg, fix.longitude_deg, fix.height_m) == pytest.approx((-33.51, -18.25, 120.5))
    below = exif_fix(_photograph(tmp_path / "b.jpg", **(PLACE | {"GPSAltitudeRef": b"\x01"})))
    assert below is not None
    assert below.height_m == pytest.approx(-120.5)
    flat = {key: value for key, value in PLACE.items() if "Altitude" not in key}
    without = exif_fix(_photograph(tmp_path / "c.jpg", **flat))
    assert without is not None
    assert without.height_m is None


@pytest.mark.parametrize(
    "change",
    [
        {"GPSLatitude": (0.0, 0.0, 0.0), "GPSLongitude": (0.0, 0.0, 0.0)},
        {"GPSLatitude": (133.0, 0.0, 0.0)},
        {"GPSLatitude": (33.0, 0.0)},
    ],
    ids=["no reception", "off the globe", "two parts"],
)
def test_exif_that_is_no_place_is_none(tmp_path, change):
    assert exif_fix(_photograph(tmp_path / "a.jpg", **(PLACE | change))) is None
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    assert exif_fix(tmp_path / "plain.jpg") is None
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe1")
    assert exif_fix(tmp_path / "broken.jpg") is None


def test_table_goes_before_exif(tmp_path):
    _photograph(tmp_path / "a.jpg", **PLACE)
    _photograph(tmp_path / "b.jpg", **PLACE)
    (tmp_path / "gps.csv").write_text("name,lat_deg,lon_deg,alt_m\nb.jpg,50.5,7.25,\n")
    a, b = photograph_fixes(tmp_path, ["a.jpg", "b.jpg"], [tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert a is not None
    assert a.latitude_deg == pytest.approx(-33.51)
    assert b == GpsFix(50.5, 7.25, None)


def test_caliterra_table_and_exif_agree(shared_data):
    root = shared_data / "data/caliterra"
    table = read_gps_table(root / "gps.csv")
    assert len(table) == 75
    for name in ("IMG_9354.jpg", "IMG_9400.jpg"):
        seen = exif_fix(root / "images" / name)
        assert seen is not None
        assert table[name].latitude_deg == pytest.approx(seen.latitude_deg, abs=1e-7)
        assert table[name].height_m == pytest.approx(seen.height_m, abs=0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has not the columns name, lat_deg"),
        ("photo,lat,lon\na.jpg,1,2\n", "has not the columns name, lat_deg"),
        ("name,lat,lon\na.jpg,north,2\n", "line 2: .*; correct or remove the line"),
        ("name,lat,lon\na.jpg,1,2\nb.jpg,91,2\n", "line 3: latitude 91.*; correct"),
        ("name,lat,lon\n,1,2\n", "line 2: a name, a latitude or a longitude is missing; correct"),
        ("name,lat,lon,alt\na.jpg,1,2,nan\n", "line 2: .* no place on Earth"),
    ],
)
def test_damaged_table_names_the_line(tmp_path, text, says):
    (tmp_path / "gps.csv").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_gps_table(tmp_path / "gps.csv")
    assert "gps.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ecef():
    np.testing.assert_allclose(
        fixes_ecef([GpsFix(10.0, 20.0, 30.0)])[0], pymap3d.geodetic2ecef(10.0, 20.0, 30.0), atol=1e-6
    )

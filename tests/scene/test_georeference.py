"""What poses and GPS say about each other, where the truth is known."""

import re

import numpy as np
import pytest

from anerf.errors import InputError
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.scene.georeference import georeference
from anerf.scene.gps import GpsFix
from anerf.scene.intake import read_survey
from anerf.scene.placing import compare_with_gps, place_survey
from anerf.scene.prepare import prepare_scene

REFERENCE = GeodeticReference(51.5, 7.4, 200.0)
NAMES = [f"{i:03d}.jpg" for i in range(40)]


def _cameras() -> np.ndarray:
    """Eight strips of five, 100 m up, in the order of flight."""
    places = [(30.0 * row, 40.0 * column, 100.0) for row in range(8) for column in range(5)]
    return np.stack([look_at(place, (place[0], place[1] + 1, 0.0)) for place in places])


def _ground(slope: float = 0.0) -> np.ndarray:
    xy = np.random.default_rng(0).uniform(0, 200, (500, 2))
    return np.column_stack((xy, xy[:, 1] * slope))


def _fixes(enu: np.ndarray) -> list[GpsFix | None]:
    return [GpsFix(*place) for place in enu_to_geodetic(enu, REFERENCE).tolist()]


def _texts(found, level):
    return [finding.text for finding in found.findings if finding.level == level]


def test_agreement():
    c2w = _cameras()
    fixes = _fixes(c2w[:, :, 3])
    fixes[3] = None
    found = georeference(NAMES, c2w, fixes, _ground(), REFERENCE)
    assert len(found.residuals) == 39
    assert found.horizontal_rms_m == pytest.approx(0, abs=1e-6)
    assert found.scale == pytest.approx(1, abs=1e-9)
    assert found.tilt_deg == pytest.approx(0, abs=1e-6)
    assert {finding.level for finding in found.findings} == {"note"}
    found.check("here")


def test_residuals_by_hand():
    c2w = _cameras()
    off = np.tile([[30.0, 40.0, 5.0], [-30.0, -40.0, -5.0]], (20, 1))
    found = georeference(NAMES, c2w, _fixes(c2w[:, :, 3] + off), _ground(), REFERENCE)
    assert found.horizontal_rms_m == pytest.approx(50, rel=1e-6)
    first = found.residuals[0]
    assert (first.east_m, first.north_m, first.up_m) == pytest.approx((30, 40, 5), abs=1e-5)
    assert first.horizontal_m == pytest.approx(50, rel=1e-6)
    assert any("the GPS is weak: it is 50.0 m rms" in text for text in _texts(found, "warning"))


def test_drifting_heights():
    c2w = _cameras()
    off = np.column_stack((np.zeros((40, 2)), np.linspace(-50, 50, 40)))
    fixes = _fixes(c2w[:, :, 3] + off)
    found = georeference(NAMES, c2w, fixes, _ground(), REFERENCE)
    (text,) = _texts(found, "warning")
    assert "the GPS heights drift: they climb steadily from 254 m to 346 m" in text
    assert "--height-prior median" in text
    found.check("here")
    aligned = georeference(NAMES, c2w, fixes, _ground(), REFERENCE, aligned_heights=True)
    with pytest.raises(
        InputError, match=r"here: the GPS heights drift.*; align it with --height-prior median"
    ):
        aligned.check("here")


def test_sea_level_heights():
    c2w = _cameras()
    found = georeference(NAMES, c2w, _fixes(c2w[:, :, 3] - (0, 0, 46.0)), _ground(), REFERENCE)
    assert found.height_offset_m == pytest.approx(-46, abs=1e-5)
    assert any(
        "-46.0 m from the cameras' (median); cameras may record" in t for t in _texts(found, "warning")
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: np.add(p, (5000.0, 0, 0)), "5000 m rms off the cameras on the map, more than 100 m"),
        (lambda p: np.add(p, (0, 0, 400.0)), r"\+400.0 m from the cameras' \(median\); give the origin"),
        (lambda p: p * (1.6, 1.6, 1), r"by GPS 1.600 m lie between cameras 1 m apart against the cameras"),
        (lambda p: np.column_stack((-p[:, 1] + 100, p[:, 0], p[:, 2])), "GPS is turned by 90.0 degrees"),
    ],
)
def test_what_nothing_should_be_built_on(change, says):
    c2w = _cameras()
    found = georeference(NAMES, c2w, _fixes(change(c2w[:, :, 3])), _ground(), REFERENCE)
    assert any(f.level == "stop" for f in found.findings)
    assert any(re.search(says, text) for text in _texts(found, "stop"))
    with pytest.raises(InputError, match=r"^here: "):
        found.check("here")


@pytest.mark.parametrize(("slope", "level"), [(0.01, "note"), (0.1, "warning"), (0.5, "stop")])
def test_tilted_ground(slope, level):
    found = georeference(NAMES, _cameras(), [None] * 40, _ground(slope), REFERENCE)
    assert found.tilt_deg == pytest.approx(np.degrees(np.arctan(slope)), abs=1e-6)
    (text,) = [f.text for f in found.findings if "ground" in f.text]
    assert [f.level for f in found.findings if "ground" in f.text] == [level]
    assert ("to the north" in text) == (level != "note")


def test_without_gps_it_says_so():
    found = georeference(NAMES, _cameras(), [None] * 40, np.empty((0, 3)), REFERENCE)
    assert found.horizontal_rms_m is None
    assert "no photograph tells where it was taken" in found.findings[0].text


def test_caliterra_in_words(shared_data):
    placed = place_survey(read_survey(shared_data / "data/caliterra"))
    found = compare_with_gps(placed, check=True)
    assert found.horizontal_rms_m == pytest.approx(16.7, abs=0.1)
    words = " ".join(_texts(found, "warning"))
    assert "the GPS is weak: it is 16.7 m rms off" in words
    assert "the GPS heights drift: they climb steadily from 322 m to 424 m" in words


def test_prepare_stops_and_leaves_nothing(survey, tmp_path):
    (survey / "gps.csv").write_text(
        "name,lat_deg,lon_deg,alt_m\n" + "".join(f"{i:03d}.jpg,51.6,7.4,280\n" for i in range(10))
    )
    with pytest.raises(InputError, match=r"m rms off the cameras on the map.*--ignore-gps"):
        prepare_scene(survey, tmp_path / "scene")
    assert not (tmp_path / "scene").exists()
    scene = prepare_scene(survey, tmp_path / "scene", check_gps=False)
    assert scene.frames[0].gps == GpsFix(51.6, 7.4, 280.0)

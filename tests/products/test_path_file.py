"""Saved camera paths: read back to the bit, turned into another reference, refused where they do not fit."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import InputError
from anerf.geometry.camera_path import CameraPath
from anerf.geometry.geodesy import GeodeticReference, enu_to_ecef
from anerf.geometry.rays import look_at
from anerf.products.path_file import path_from, path_json, read_path, save_path

HERE = GeodeticReference(51.5, 7.4, 120.0)
BESIDE = GeodeticReference(51.51, 7.38, 100.0)
POSES = [look_at((x, -50.0, 60.0), (x, 0.0, 0.0)) for x in (0.0, 10.0, 40.0)]
PATH = CameraPath.at_even_speed(POSES, 5.0, 48.0)


def test_a_path_is_read_back_as_it_was(tmp_path):
    save_path(tmp_path / "path.json", PATH, HERE, "town")
    found = read_path(tmp_path / "path.json", HERE)
    for key, saved in zip(found.keys, PATH.keys, strict=True):
        assert (key.time_s, key.fov_y_deg) == (saved.time_s, saved.fov_y_deg)
        np.testing.assert_array_equal(key.c2w, saved.c2w)
    assert [p.name for p in tmp_path.iterdir()] == ["path.json"]


def test_a_path_of_the_same_place_is_turned_into_the_scenes_frame():
    found = path_from(json.dumps(path_json(PATH, HERE, "town")), BESIDE, "p")
    for key, saved in zip(found.keys, PATH.keys, strict=True):
        np.testing.assert_allclose(enu_to_ecef(key.c2w, BESIDE), enu_to_ecef(saved.c2w, HERE), atol=1e-6)


def test_a_path_of_another_place_is_refused():
    content = json.dumps(path_json(PATH, HERE, "town"))
    with pytest.raises(InputError, match="made for scene 'town' and leads"):
        path_from(content, GeodeticReference(52.5, 7.4, 120.0), "p")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "version"),
        ({"keys": []}, "keys"),
        ({"more": 1}, "more"),
        ({"reference": {"latitude_deg": 99, "longitude_deg": 0, "height_m": 0}}, "no place on Earth"),
        ({"keys": [{"time_s": 0, "c2w": [[1, 0, 0, 0]] * 3, "fov_y_deg": 50}]}, "not a rotation"),
    ],
)
def test_what_is_no_path_is_refused_by_its_part(change, reason):
    content = json.dumps({**path_json(PATH, HERE, "town"), **change})
    with pytest.raises(InputError, match=reason):
        path_from(content, HERE, "p")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["version", "scene", "reference", "keys"]), JSON))
def test_whatever_a_file_holds_it_is_a_path_or_refused(change):
    try:
        path_from(json.dumps({**path_json(PATH, HERE, "town"), **change}), HERE, "p")
    except InputError:
        return


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json cannot be read"):
        read_path(tmp_path / "gone.json", HERE)


def test_what_may_not_be_looked_at_is_refused_like_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        read_path(tmp_path / ("x" * 300), HERE)
    with pytest.raises(InputError, match="is not a file"):
        read_path(tmp_path, HERE)

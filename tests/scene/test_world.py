"""Frames of surveys: ECEF, ENU and frames of their own are told apart, and each finds its place."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anerf.errors import InputError
from anerf.geometry.alignment import Similarity
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, enu_to_ecef
from anerf.scene.intake import read_survey
from anerf.scene.manhattan import Manhattan
from anerf.scene.placing import Placing, place_survey
from anerf.scene.survey import Survey
from anerf.scene.world import world_of

PLACE = GeodeticReference(51.9698, 7.7412, 101.5)


@pytest.fixture(scope="module")
def before(tiny_survey) -> Survey:
    return read_survey(tiny_survey / "before")


def _carried(survey: Survey, carry: Similarity) -> Survey:
    """The survey as if its program had worked in ENU metres carried elsewhere."""

    def pose(c2w):
        return carry.poses(ecef_to_enu(c2w, PLACE))

    assert survey.model is not None
    images = tuple(replace(image, c2w=pose(image.c2w)) for image in survey.model.images)
    points = carry.points(ecef_to_enu(survey.model.points_xyz, PLACE))
    photographs = tuple(replace(p, c2w=pose(p.c2w)) for p in survey.photographs)
    return replace(
        survey, photographs=photographs, model=replace(survey.model, images=images, points_xyz=points)
    )


def _truth(survey: Survey) -> np.ndarray:
    return np.stack([photograph.c2w for photograph in survey.photographs])


TURNED = Similarity(0.02, Rotation.from_rotvec([1.0, 2.0, 3.0]).as_matrix(), np.array([4.0, 5.0, 6.0]))
SHIFTED = Similarity(1.0, np.eye(3), np.array([400.0, -30.0, 7.0]))


@pytest.mark.parametrize(("carry", "kind"), [(TURNED, "unreferenced"), (SHIFTED, "enu")])
def test_gps_places_a_model(before, carry, kind):
    placed = place_survey(_carried(before, carry))
    assert placed.world.kind == kind
    np.testing.assert_allclose(enu_to_ecef(placed.c2w, placed.reference), _truth(before), atol=2e-3)
    points = enu_to_ecef(placed.points_xyz, placed.reference)
    np.testing.assert_allclose(points, before.model.points_xyz, atol=2e-3)  # EXIF is exact to a millimetre
    assert "GPS of 16 photographs" in placed.world.how


def test_ecef_needs_no_gps(before):
    placed = place_survey(before)
    assert placed.world.kind == "ecef"
    np.testing.assert_allclose(enu_to_ecef(placed.c2w, placed.reference), _truth(before), atol=1e-8)


def test_origin_by_name(before):
    cameras = _truth(before)[:, :, 3]
    for name, expected in (
        ("first", cameras[0]),
        ("mean", cameras.mean(axis=0)),
        ("median", np.median(cameras, axis=0)),
    ):
        placed = place_survey(before, Placing(origin=name))
        np.testing.assert_allclose(ecef_to_enu(expected[None], placed.reference), np.zeros((1, 3)), atol=1e-6)


def test_median_heights_keep_a_level_flight_level():
    rng = np.random.default_rng(0)
    places = np.array([(30.0 * row, 40.0 * column, 0.0) for row in range(8) for column in range(5)])
    own = TURNED.points(places)
    from anerf.geometry.geodesy import enu_to_geodetic
    from anerf.scene.gps import GpsFix

    noisy = places + np.column_stack((rng.normal(0, 3, (40, 2)), np.linspace(0, 100, 40)))
    fixes = [GpsFix(*place) for place in enu_to_geodetic(noisy, PLACE).tolist()]
    heights = {}
    for prior in ("gps", "median"):
        world = world_of(own, fixes, None, prior)
        assert world is not None
        assert world.about is not None
        heights[prior] = float(np.ptp(world.into(world.about, own)[:, 2]))
    assert heights["median"] < 1
    assert heights["gps"] > 50


def test_manhattan_stands_upright_along_the_walls(tmp_path):
    """The made city's walls run east and north; the frame is turned away and must be turned back, up to
    quarters."""
    from anerf.scene.made.survey import make_survey

    make_survey(tmp_path / "city", size="tiny")
    survey = read_survey(tmp_path / "city/before")
    turned = _carried(survey, TURNED)
    placed = place_survey(turned, Placing(origin=PLACE, manhattan=Manhattan(1 / TURNED.scale)))
    assert placed.world.similarity is not None
    back = placed.world.similarity.rotation @ TURNED.rotation
    assert np.degrees(np.arccos(back[2, 2])) < 1.5
    heading = np.degrees(np.arctan2(back[1, 0], back[0, 0])) % 90
    assert min(heading, 90 - heading) < 3
    assert placed.world.similarity.scale * TURNED.scale == pytest.approx(1)
    assert "north is not known" in placed.world.how


@pytest.mark.parametrize(
    ("placing", "says"),
    [
        (
            Placing(manhattan=Manhattan()),
            "cannot tell where it lies; give the place of its middle with --enu-ref",
        ),
        (
            Placing(origin=PLACE, manhattan=Manhattan(0.0)),
            "a unit of 0.0 m cannot be; give --metres-per-unit",
        ),
    ],
)
def test_manhattan_needs_a_place_and_a_length(before, placing, says):
    with pytest.raises(InputError, match=says):
        place_survey(_carried(before, TURNED), placing)


def test_no_witness_is_an_error(before, monkeypatch):
    turned = _carried(before, TURNED)
    bare = replace(turned, root=turned.root, photographs=turned.photographs[:2])
    with pytest.raises(InputError, match=r"nothing says where on Earth .*gps\.csv.*--enu-ref .*--manhattan"):
        place_survey(bare)

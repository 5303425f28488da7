"""Cameras that record no height are compared with GPS on the map all the same."""

import numpy as np
import pytest

from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.scene.georeference import georeference
from anerf.scene.gps import GpsFix

REFERENCE = GeodeticReference(50.0, 7.0, 100.0)


def test_scale_and_turn_are_told_without_heights():
    stands = np.array([(x, y, 80.0) for x in (-60, 0, 60) for y in (-40, 40)])
    c2w = np.stack([look_at(stand, stand - (0, 0, 80)) for stand in stands])
    # A fix without a height counts as one on the ellipsoid, 180 m below: millimetres on the map.
    places = enu_to_geodetic(stands + np.array([3.0, 4.0, 0.0]), REFERENCE)
    fixes = [GpsFix(float(latitude), float(longitude)) for latitude, longitude, _ in places]
    found = georeference([f"{i}.jpg" for i in range(6)], c2w, fixes, np.empty((0, 3)), REFERENCE)
    assert found.horizontal_rms_m == pytest.approx(5, abs=0.01)
    assert found.scale == pytest.approx(1, abs=1e-3)
    assert found.turn_deg == pytest.approx(0, abs=0.01)
    assert (found.height_offset_m, found.height_spread_m) == (None, None)
    assert all(residual.up_m is None for residual in found.residuals)

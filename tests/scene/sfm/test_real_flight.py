"""A real flight from its photographs alone, whose GPS heights drift."""

import pytest

from anerf.errors import InputError
from anerf.scene.gps import read_gps_table
from anerf.scene.prepare import prepare_scene
from anerf.scene.sfm.reconstruct import ReconstructOptions, reconstruct

pytestmark = pytest.mark.slow
OPTIONS = ReconstructOptions()


def test_caliterra_from_pictures(shared_data, tmp_path):
    root = shared_data / "data/caliterra"
    out = tmp_path / "survey"
    with pytest.raises(InputError, match="--height-prior median"):
        reconstruct(root / "images", out, lambda *_: None, OPTIONS, gps=root / "gps.csv")
    assert not (out / "model").exists()
    seen: list[str] = []

    def listen(stage: str, done: int, total: int) -> None:
        if done < total:
            seen.append(stage)

    made = reconstruct(root / "images", out, listen, OPTIONS, gps=root / "gps.csv", height_prior="median")
    assert not seen  # all was there from the first try
    assert len(made.registered) >= 70
    assert made.georeference is not None
    assert made.georeference.horizontal_rms_m is not None
    assert made.georeference.horizontal_rms_m < 20
    assert len(read_gps_table(out / "gps.csv")) == 75
    scene = prepare_scene(out, tmp_path / "scene")
    assert scene.reprojection is not None
    assert scene.reprojection.scene_px < 1

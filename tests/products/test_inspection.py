"""What an inspection finds, and how its page says it."""

from dataclasses import replace

import numpy as np
import pytest

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.partition.regions import Partition, save_partition
from anerf.products.coverage_summary import partition_coverage
from anerf.products.inspection import inspect_scene
from anerf.products.inspection_report import report_html
from anerf.products.inspection_words import coverage_notes
from anerf.scene.gps import GpsFix
from anerf.scene.prepare import prepare_scene

BOX = Aabb((-100.0, -50.0, 0.0), (100.0, 50.0, 20.0))
CENTROIDS = np.array([(-50.0, 0.0, 10.0), (50.0, 0.0, 10.0)])
HALVES = Partition("halves", CENTROIDS, 2, 1.1, (BOX, BOX), "by hand")


def test_flights_are_compared_with_gps_one_by_one(town):
    survey, flood = inspect_scene(town()).flights
    assert (survey.name, flood.name) == ("survey", "flood")
    assert [s.file for s in survey.standpoints] == ["images/0.jpg", "images/1.jpg"]
    assert (survey.georeference.n_photographs, len(survey.georeference.residuals)) == (2, 1)
    assert survey.georeference.horizontal_rms_m == pytest.approx(10)
    assert survey.georeference.height_offset_m == pytest.approx(5)
    assert flood.georeference.horizontal_rms_m == pytest.approx(0, abs=1e-6)
    assert flood.georeference.tilt_deg is None
    assert survey.captured == ("2025-06-01T10:00:00", "2025-06-01T10:05:00")
    assert flood.captured is None


def test_standpoints_know_where_they_look(town):
    down, east, _ = inspect_scene(town()).standpoints
    assert (down.is_nadir, east.is_nadir) == (True, False)
    assert down.off_nadir_deg == pytest.approx(0)
    assert east.heading_deg == pytest.approx(90)
    # It looks 20 m down over 100 m.
    assert east.off_nadir_deg == pytest.approx(90 - np.degrees(np.arctan(0.2)))
    assert down.height_m == pytest.approx(180, abs=1e-6)
    assert down.gps_height_m == pytest.approx(185, abs=1e-4)


def test_the_gravest_finding_comes_first(town):
    frames = list(town().frames)
    far = GpsFix(*enu_to_geodetic(np.array([[5000.0, 0, 80]]), GeodeticReference(50, 7, 100))[0])
    (survey, *_) = inspect_scene(town([replace(frames[0], gps=far), *frames[1:]])).flights
    levels = [finding.level for finding in survey.findings]
    assert levels == sorted(levels, key=("stop", "warning", "note").index)
    assert levels[0] == "stop"
    assert "5000 m rms" in survey.findings[0].text


def test_shares_and_imbalance_are_those_of_the_photographs_learned_from(town, coverage_of):
    scene = town()
    save_partition(scene, HALVES, coverage_of(scene, np.array([[30, 10], [0, 500], [7, 0]])))
    coverage = partition_coverage(scene, "halves")
    west, east = coverage.experts
    assert (west.share, east.share) == (0.75, 0.25)
    assert (west.own_share, east.own_share) == (1.0, 0.0)
    assert coverage.imbalance == pytest.approx(1.5)
    assert (west.by_split["train"].photographs, west.by_split["train"].pixels) == (1, 30)
    assert (west.by_split["val"].photographs, east.by_split["val"].pixels) == (0, 500)
    assert (coverage.later, coverage.unseen) == ((), {})


def test_a_flight_that_came_after_the_partition_is_said(town, coverage_of):
    scene = town()
    before = replace(scene, frames=scene.frames[:2])
    save_partition(before, HALVES, coverage_of(before, np.array([[30, 10], [0, 500]])))
    coverage = partition_coverage(scene, "halves")
    assert coverage.later == ("flood",)
    assert "photographs of flood came after this partition was made" in " ".join(coverage_notes(coverage))
    assert "came after" in report_html(inspect_scene(scene))


def test_photographs_that_nobody_sees_are_counted(town, coverage_of):
    scene = town()
    more = town([*scene.frames, replace(scene.frames[0], id=3, file="images/3.jpg")])
    save_partition(more, HALVES, coverage_of(more, np.array([[30, 10], [0, 500], [7, 0], [0, 0]])))
    assert partition_coverage(more, "halves").unseen == {"train": 1}


def test_a_broken_partition_does_not_hide_the_others(town, coverage_of):
    scene = town()
    save_partition(scene, HALVES, coverage_of(scene, np.array([[30, 10], [0, 500], [7, 0]])))
    save_partition(
        scene, replace(HALVES, name="torn"), coverage_of(scene, np.array([[30, 10], [0, 500], [7, 0]]))
    )
    (scene.root / "partitions/torn/coverage.parquet").write_bytes(b"no table")
    inspection = inspect_scene(scene)
    assert [coverage.partition.name for coverage in inspection.partitions] == ["halves"]
    assert len(inspection.broken) == 1
    assert "torn/coverage.parquet cannot be read" in report_html(inspection)
    with pytest.raises(PartitionError, match="cannot be read"):
        inspect_scene(scene, "torn")


def test_coverage_of_strangers_is_refused(town, coverage_of):
    scene = town()
    save_partition(scene, HALVES, coverage_of(scene, np.array([[30, 10], [0, 500], [7, 0]])))
    with pytest.raises(PartitionError, match="does not have"):
        partition_coverage(replace(scene, frames=scene.frames[:1]), "halves")


def test_names_are_text_and_the_page_needs_nothing_else(town, coverage_of):
    scene = town()
    evil = "<script>alert('1')</script>"
    frames = [replace(frame, file=f"images/{evil}{frame.id}.jpg") for frame in scene.frames]
    scene = town(frames, name=evil, made_by=f"{evil}&", crs=evil)
    save_partition(
        scene, replace(HALVES, how=evil), coverage_of(scene, np.array([[30, 10], [0, 500], [7, 0]]))
    )
    page = report_html(inspect_scene(scene))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;" in page
    assert all(outside not in page for outside in ("http:", "https:", "src=", "@import", "url("))
    assert "prefers-color-scheme: dark" in page


def test_a_scene_without_points_gps_and_partitions_has_a_page_too(town):
    scene = town([replace(frame, gps=None) for frame in town().frames])
    (scene.root / "points.parquet").unlink()
    page = report_html(inspect_scene(scene))
    assert "none came with the survey" in page
    assert "not partitioned yet" in page
    assert "no photograph tells where it was taken" in page


def test_what_is_wrong_with_the_gps_of_a_real_flight_is_said_in_words(shared_data, tmp_path):
    scene = prepare_scene(shared_data / "data/caliterra", tmp_path / "caliterra")
    page = report_html(inspect_scene(scene))
    assert "the GPS is weak: it is 16.7 m rms off the cameras" in page
    assert "climb steadily from 322 m to 424 m while the cameras keep within 12 m of one level" in page
    assert "the worst 20 of 75" in page
    assert page.index("the GPS is weak") < page.index("by GPS 1.004 m lie between cameras")

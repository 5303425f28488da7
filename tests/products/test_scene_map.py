"""What is where on the maps: places, headings, GPS lines, regions and boxes by hand."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from anerf.geometry.boxes import Aabb
from anerf.partition.regions import Partition, save_partition
from anerf.products.inspection import inspect_scene
from anerf.products.map_frame import MapFrame, round_length_m
from anerf.products.page import PALETTE
from anerf.products.region_outlines import region_outlines
from anerf.products.scene_map import map_frame, partition_map, points_png, survey_map

# The box of 200 x 100 m with 4 m around it fills 860 pixels, from (12, 30) on.
PX_PER_M = 860 / 208
BOX = Aabb((-100.0, -50.0, 0.0), (100.0, 50.0, 20.0))


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def partition_of(centroids, dims=2, boxes=None) -> Partition:
    centroids = np.array(centroids, float)
    return Partition("p", centroids, dims, 1.1, tuple(boxes or [BOX] * len(centroids)), "by hand")


def elements(svg: str, kind: str, name: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(svg).iter(kind) if name in e.get("class", "").split()]


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def test_a_frame_holds_the_box_and_what_is_near(town):
    frame = map_frame(inspect_scene(town()))
    assert (frame.west_m, frame.east_m, frame.south_m, frame.north_m) == (-104, 104, -54, 54)
    assert frame.at((0, 0)) == pytest.approx((442, 30 + 54 * PX_PER_M))
    assert frame.at((-104, 54)) == pytest.approx((12, 30))
    far = MapFrame.around(BOX, np.array([[0.0, 120.0], [5e6, 0.0]]))
    assert far.north_m > 120
    assert far.east_m < 200


def test_cameras_stand_in_their_places_and_point_where_they_look(town):
    inspection = inspect_scene(town())
    svg = survey_map(inspection, map_frame(inspection))
    shown = {e.find("title").text.split()[0]: e for e in elements(svg, "use", "camera")}
    down, east, later = (shown[f"images/{i}.jpg"] for i in range(3))
    assert down.get("transform") == f"translate(442.0 {30 + 54 * PX_PER_M:.1f}) rotate(0.0)"
    assert (down.get("href"), down.get("class")) == ("#nadir", "camera s0")
    place = f"translate({12 + 54 * PX_PER_M:.1f} {30 + 34 * PX_PER_M:.1f})"
    assert east.get("transform") == f"{place} rotate(90.0)"
    assert (east.get("href"), east.get("class")) == ("#oblique", "camera s1")
    assert later.get("class") == "camera s2"
    assert "GPS 10.0 m off" in (down.find("title").text or "")


def test_a_line_leads_from_a_camera_to_its_gps(town):
    inspection = inspect_scene(town())
    lines = elements(survey_map(inspection, map_frame(inspection)), "line", "gps")
    assert len(lines) == 2
    y = 30 + 54 * PX_PER_M
    ends = (442, y, 442 + 10 * PX_PER_M, y)
    assert numbers(lines[0], "x1", "y1", "x2", "y2") == pytest.approx(ends, abs=0.06)


def test_two_by_two_regions_share_the_box_evenly():
    outlines = region_outlines(np.array([[-50, -25], [50, -25], [-50, 25], [50, 25]], float), BOX)
    assert [area(outline) for outline in outlines] == pytest.approx([5000] * 4)
    assert sorted(map(tuple, outlines[3].tolist())) == [(0, 0), (0, 50), (100, 0), (100, 50)]


def test_outlines_hold_what_is_nearest():
    rng = np.random.default_rng(3)
    centroids = rng.uniform((-100, -50), (100, 50), (7, 2))
    places = rng.uniform((-100, -50), (100, 50), (40_000, 2))
    nearest = ((places[:, None] - centroids) ** 2).sum(-1).argmin(1)
    share = np.bincount(nearest, minlength=7) / len(places)
    areas = np.array([area(outline) for outline in region_outlines(centroids, BOX)])
    assert areas.sum() == pytest.approx(20_000)
    assert np.allclose(areas / 20_000, share, atol=0.01)


def test_an_outline_may_be_empty_and_centroids_may_lie_above_each_other():
    outlines = region_outlines(np.array([[0, 0], [0, 900], [0, 0]], float), BOX)
    assert [area(outline) if len(outline) else 0 for outline in outlines] == [20_000, 0, 20_000]


def test_a_partition_shows_regions_boxes_and_numbers(town):
    inspection = inspect_scene(town())
    frame = map_frame(inspection)
    boxes = [Aabb((-100, -50, 0), (10, 50, 20)), Aabb((-10, -50, 0), (100, 50, 20))]
    svg = partition_map(inspection, frame, partition_of([(-50, 0, 0), (50, 0, 0)], boxes=boxes))
    regions = elements(svg, "path", "region")
    assert len(regions) == 2
    assert "442.0," in (regions[0].get("d") or "")
    drawn = elements(svg, "rect", "expertbox")
    assert numbers(drawn[1], "x", "width") == pytest.approx([442 - 10 * PX_PER_M, 110 * PX_PER_M], abs=0.06)
    texts = elements(svg, "text", "number")
    assert [(e.text, e.get("x")) for e in texts] == [("0", "235"), ("1", "649")]


def test_regions_in_space_are_shown_by_their_boxes_and_share_labels(town):
    inspection = inspect_scene(town())
    frame = map_frame(inspection)
    svg = partition_map(inspection, frame, partition_of([(0, 0, 5), (0, 0, 15)], dims=3))
    assert not elements(svg, "path", "region")
    assert len(elements(svg, "rect", "expertbox")) == 2
    assert [e.text for e in elements(svg, "text", "number")] == ["0, 1"]


def test_the_scale_bar_is_as_long_as_it_says(town):
    assert [round_length_m(v) for v in (0.7, 1, 4.99, 26, 52, 1999)] == [0.5, 1, 2, 20, 50, 1000]
    inspection = inspect_scene(town())
    svg = survey_map(inspection, map_frame(inspection))
    assert ">50 m<" in svg
    assert f"h{50 * PX_PER_M:.1f}m0,-5v10" in svg


def test_corners_tell_where_they_are_on_earth(town):
    inspection = inspect_scene(town())
    corners = elements(survey_map(inspection, map_frame(inspection)), "text", "corner")
    # A degree of latitude has 111.2 km there, one of longitude 71.7 km.
    north_west = (corners[0].text or "").replace("\u00b0", "").split(", ")
    assert north_west[0].endswith(" N")
    assert north_west[1].endswith(" E")
    assert float(north_west[0][:-2]) == pytest.approx(50 + 54 / 111_230, abs=2e-6)
    assert float(north_west[1][:-2]) == pytest.approx(7 - 104 / 71_700, abs=2e-6)


def test_the_highest_point_is_on_top():
    frame = MapFrame.around(BOX, np.empty((0, 2)))
    xyz = np.array([[0, 0, 9], [0, 0, 1], [500, 0, 5]], float)
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    picture = np.asarray(points_png(frame, xyz, rgb))
    seen = picture[picture[..., 3] > 0]
    assert len(seen) == 9
    assert (seen == [255, 0, 0, 255]).all()


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_is_legible_on_every_ground(scheme):
    """WCAG 2 asks for a contrast of 4.5 between text and what is behind it."""
    behind = [luminance(PALETTE[name][scheme]) for name in ("paper", "panel", "ground")]
    for name, both in PALETTE.items():
        if name not in ("paper", "panel", "ground", "line", "bar"):
            text = luminance(both[scheme])
            contrast = min((max(text, b) + 0.05) / (min(text, b) + 0.05) for b in behind)
            assert contrast >= 4.5, name


def test_a_saved_partition_is_drawn(coverage_of, town):
    scene = town()
    coverage = coverage_of(scene, np.array([[5, 0], [3, 4], [0, 1]]))
    save_partition(scene, partition_of([(-50, 0, 0), (50, 0, 0)]), coverage)
    inspection = inspect_scene(scene)
    (coverage,) = inspection.partitions
    svg = partition_map(inspection, map_frame(inspection), coverage.partition)
    assert ET.fromstring(svg).get("aria-label") == "Map of town: partition p"

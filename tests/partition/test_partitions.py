"""Partitions: regions, boxes and coverage, on flat ground where the truth can be computed."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from anerf.errors import PartitionError, SceneError
from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera, pixel_directions, seen_positions
from anerf.geometry.rays import look_at
from anerf.partition.build import grid_partition, region_box
from anerf.partition.coverage import _tile_grid, region_tiles, scene_tiles, seen_tiles
from anerf.partition.regions import Coverage, load_coverage, load_partition, save_partition
from anerf.partition.routing import in_support


def _ground_hits(scene, tiles, downscale):
    """Where the middle rays of tiles meet z = 0."""
    hits = []
    for index, x, y in zip(tiles.frame_index, tiles.tile_x, tiles.tile_y, strict=True):
        frame = scene.frames[index]
        camera = frame.camera.scaled(downscale)
        middle = torch.tensor([[(x + 0.5) * tiles.tile, (y + 0.5) * tiles.tile]], dtype=torch.float64)
        direction = frame.c2w[:, :3] @ pixel_directions(camera, middle).numpy()[0]
        hits.append(frame.c2w[:, 3] - frame.c2w[2, 3] / direction[2] * direction)
    return np.array(hits)


def test_grid_centroids_and_default_name(scene):
    partition = grid_partition(scene, 2, 2, 1.1)
    assert partition.name == "g22_grid_bm110"
    assert partition.centroids[:, :2].tolist() == [[-50, -50], [50, -50], [-50, 50], [50, 50]]
    assert (partition.dims, partition.margin, partition.n_experts) == (2, 1.1, 4)


def test_round_trip(scene):
    made = grid_partition(scene, 2, 1, 1.2, "halves")
    again = load_partition(scene, "halves")
    assert (again.name, again.dims, again.margin, again.boxes, again.how) == (
        "halves",
        2,
        1.2,
        made.boxes,
        made.how,
    )
    assert again.how.startswith("grid 2 x 1; own pixels differ by ")
    np.testing.assert_array_equal(again.centroids, made.centroids)


def test_every_tile_belongs_to_the_region_where_its_ray_lands(scene):
    partition = grid_partition(scene, 2, 2, 1.0)
    for expert, tiles in enumerate(scene_tiles(scene, partition, ("train",), 1.0)):
        hits = _ground_hits(scene, tiles, 1.0)
        # A ray passes the band of 12 m around the ground, so it lands within some metres of the region.
        toward = np.array([1, 1]) * np.sign(partition.centroids[expert, :2])
        assert (hits[:, :2] * toward > -12).all()
        flat = scene.aabb.contains(hits) & (hits[:, :2] < 0).any(axis=1)  # far from the tower
        assert flat.any() == (expert != 3)
        assert (np.linalg.norm(tiles.surface_xy - hits[:, :2], axis=1)[flat] < 3).all()


def test_no_landing_tile_is_missing(scene):
    partition = grid_partition(scene, 2, 2, 1.0)
    whole = replace(partition, centroids=np.zeros((1, 3)), boxes=(scene.aabb,))
    (everything,) = scene_tiles(scene, whole, ("train",), 1.0)
    hits = _ground_hits(scene, everything, 1.0)
    support = in_support(torch.from_numpy(hits), torch.from_numpy(partition.centroids), 1.0, 2).numpy()
    inside = scene.aabb.contains(hits)
    key = np.stack((everything.frame_index, everything.tile_x, everything.tile_y), axis=1)
    for expert, tiles in enumerate(scene_tiles(scene, partition, ("train",), 1.0)):
        mine = set(zip(tiles.frame_index, tiles.tile_x, tiles.tile_y, strict=True))
        assert {tuple(k) for k in key[inside & support[:, expert]]} <= mine


def test_wider_margin_adds_tiles(scene):
    strict, wide = grid_partition(scene, 2, 2, 1.0, "a"), grid_partition(scene, 2, 2, 1.5, "b")
    for few, many in zip(
        scene_tiles(scene, strict, ("train",), 1.0), scene_tiles(scene, wide, ("train",), 1.0), strict=True
    ):
        assert len(many.tile_x) > len(few.tile_x)
        keys = [set(zip(t.frame_index, t.tile_x, t.tile_y, strict=True)) for t in (few, many)]
        assert keys[0] <= keys[1]


def test_one_expert_is_the_same_as_of_all(scene):
    partition = grid_partition(scene, 2, 2, 1.1)
    for expert, expected in enumerate(scene_tiles(scene, partition, ("train",), 0.5, 8)):
        tiles = region_tiles(scene, partition, expert, ("train",), 0.5, 8)
        for name in ("frame_index", "tile_x", "tile_y", "surface_xy"):
            np.testing.assert_array_equal(getattr(tiles, name), getattr(expected, name))
    assert tiles.tile_x.max() == 3  # 32 x 24 pixels: 4 x 3 tiles
    assert tiles.tile_y.max() == 2
    with pytest.raises(PartitionError, match="no expert 4; name one of 0 to 3"):
        region_tiles(scene, partition, 4, ("train",), 0.5)
    with pytest.raises(SceneError, match="no split after"):
        region_tiles(scene, partition, 0, ("after",), 0.5)


def test_boxes_hold_region_and_what_rays_meet(scene):
    partition = grid_partition(scene, 2, 2, 1.0)
    for expert, box in enumerate(partition.boxes):
        assert scene.aabb.contains(np.array([box.lo, box.hi])).all()
        sign = np.sign(partition.centroids[expert])
        corner = np.array([sign[0] * 99, sign[1] * 99, 0.0])
        assert box.contains(np.array([corner, [0.0, 0.0, 0.0]])).all()
        assert max(box.size[:2]) < 160  # not the whole scene


def test_region_box_by_hand(scene):
    partition = grid_partition(scene, 2, 1, 1.0)
    assert region_box(partition, 0, scene.aabb).hi == pytest.approx((0.0, 100.0, 40.0), abs=200 / 64 + 1e-9)
    spatial = replace(partition, dims=3, centroids=np.array([[0.0, 0, 0], [0.0, 0, 40]]))
    assert region_box(spatial, 0, scene.aabb).hi[2] == pytest.approx(20, abs=2)


def test_coverage_counts_pixels(scene):
    partition = grid_partition(scene, 1, 1, 1.0, "one")
    table = pq.read_table(scene.root / "partitions/one/coverage.parquet").to_pydict()
    assert set(table["expert"]) == {0}
    seen = dict(zip(table["frame_id"], table["pixels"], strict=True))
    inner = [5, 6, 9, 10]  # the four cameras in the middle see nothing but the box
    assert all(seen[frame] == 64 * 48 for frame in inner)
    assert all(0 < pixels <= 64 * 48 for pixels in seen.values())
    assert partition.boxes[0].union(scene.aabb) == scene.aabb
    assert table["own_pixels"] == table["pixels"]


def test_each_pixel_is_one_experts_own(scene):
    grid_partition(scene, 1, 1, 1.0, "one")
    grid_partition(scene, 3, 3, 1.3, "nine")
    whole, parts = load_coverage(scene, "one"), load_coverage(scene, "nine")
    for frame, pixels in zip(whole.frame_id, whole.pixels, strict=True):
        assert parts.own_pixels[parts.frame_id == frame].sum() == pixels
    assert (parts.pixels >= parts.own_pixels).all()  # what is its own, it learns from
    assert parts.pixels.sum() > whole.pixels.sum()  # and in the margins, neighbours do


def test_horizon_and_sky_are_no_ones(scene):
    level = replace(scene.frames[0], c2w=look_at((0.0, 0.0, 60.0), (100.0, 0.0, 60.0)))
    only = replace(scene, frames=(level,))
    partition = replace(grid_partition(scene, 1, 1, 1.0, "one"))
    (tiles,) = scene_tiles(only, partition, ("train",), 1.0)
    assert (tiles.tile_y >= 3).all()  # rows 0 to 23 look up


def test_region_that_nobody_sees(scene):
    west = tuple(frame for frame in scene.frames if frame.c2w[0, 3] < -50)
    with pytest.raises(PartitionError, match=r"no photograph sees region \d+ of grid 8 x 1 .* fewer regions"):
        grid_partition(replace(scene, frames=west), 8, 1, 1.0)
    assert not (scene.root / "partitions").exists() or not list((scene.root / "partitions").iterdir())


def test_names_and_designs_that_cannot_be(scene):
    grid_partition(scene, 1, 1, 1.0, "one")
    with pytest.raises(PartitionError, match=r"partition one already; .*--overwrite"):
        grid_partition(scene, 1, 1, 1.0, "one")
    grid_partition(scene, 1, 1, 1.1, "one", overwrite=True)
    assert load_partition(scene, "one").margin == 1.1
    for name in ("../one", "", "a/b"):
        with pytest.raises(PartitionError, match="cannot name a partition"):
            load_partition(scene, name)
    with pytest.raises(
        PartitionError, match=r"no partition two \(there is one\); make it with anerf partition"
    ):
        load_partition(scene, "two")
    for nx, margin in ((0, 1.0), (1, 0.5), (1, float("nan"))):
        with pytest.raises(PartitionError, match="cannot be"):
            grid_partition(scene, nx, 1, margin)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"margin": 0.5}, "margin"),
        ({"boxes_m": []}, "1 centroids but 0 boxes"),
        ({"boxes_m": [{"lo": [0, 0, 0], "hi": [-1, 0, 0]}]}, "not a partition"),
        ({"surprise": 1}, "surprise"),
        (None, "not a partition"),
    ],
)
def test_broken_file_is_named(scene, change, says):
    grid_partition(scene, 1, 1, 1.0, "one")
    file = scene.root / "partitions/one/partition.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}) if change else "{")
    with pytest.raises(PartitionError, match=says):
        load_partition(scene, "one")


def test_save_keeps_what_the_caller_made(scene):
    made = grid_partition(scene, 1, 1, 1.0, "one")
    mine = replace(made, name="mine", boxes=(Aabb((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),), dims=3)
    one = np.array([0], np.int32)
    save_partition(scene, mine, Coverage(one, one, np.array([7]), np.array([5])))
    assert load_partition(scene, "mine").dims == 3
    table = pq.read_table(scene.root / "partitions/mine/coverage.parquet").to_pydict()
    assert table == {"frame_id": [0], "expert": [0], "pixels": [7], "own_pixels": [5]}


@pytest.mark.parametrize(
    "camera",
    [
        Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0)),
        Camera("OPENCV_FISHEYE", 64, 48, (20.0, 20.0, 32.0, 24.0, 0.05, 0.0, 0.0, 0.0)),
        Camera("EUCM", 64, 48, (28.0, 28.0, 32.0, 24.0, 0.8, 1.0)),  # spreads angles at its edge
        Camera("EQUIRECTANGULAR", 64, 32, (64.0, 32.0)),
    ],
)
def test_footprint_of_a_tile_holds_its_pixels(camera):
    grid = _tile_grid(camera, 8)
    for i, (tile_x, tile_y) in enumerate(zip(grid.tile_x, grid.tile_y, strict=True)):
        y, x = np.indices((8, 8)) + 0.5 + 8 * np.array([tile_y, tile_x])[:, None, None]
        xy = torch.from_numpy(np.stack((x.ravel(), y.ravel()), axis=1))
        apart = np.linalg.norm(pixel_directions(camera, xy).numpy() - grid.directions[i], axis=1)
        if seen_positions(camera, xy.round()).all():
            assert apart.max() < grid.footprint[i]


def test_tiles_where_the_lens_has_no_picture_are_left_out(scene):
    # Folds back 20.4 pixels from the middle.
    camera = Camera("SIMPLE_RADIAL", 64, 48, (37.5, 32.0, 24.0, -0.5))
    wide = replace(scene, frames=(replace(scene.frames[5], camera=camera),))
    seen = next(iter(seen_tiles(wide, grid_partition(wide, 1, 1, 1.0), ["train"], 1.0)))
    middle = np.stack((seen.tile_x, seen.tile_y), axis=1) * 8 + 4
    assert len(seen.tile_x) > 10
    assert (np.linalg.norm(middle - (32, 24), axis=1) < 20.42).all()

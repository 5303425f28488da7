"""Designs of partitions: where centroids go, equal shares for real, and what cannot be."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.partition.balance import balanced_centroids, imbalance, median_split
from anerf.partition.build import make_partition, own_pixels
from anerf.partition.content import Content, scene_content
from anerf.partition.coverage import region_tiles, scene_tiles
from anerf.partition.designs import Balanced, Grid, KMeans
from anerf.partition.kmeans import kmeans_centroids
from anerf.partition.regions import load_coverage, load_partition
from anerf.scene.prepare import prepare_scene

BOX = Aabb((0.0, 0.0, 0.0), (8.0, 4.0, 2.0))


def clumps(seed: int, m: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in clumps of very different weight on a thin background."""
    rng = np.random.default_rng(seed)
    middles = rng.uniform(0, 100, (4, dims))
    clumped = middles[rng.integers(0, 4, m // 2)] + rng.normal(0, 8, (m // 2, dims))
    return np.concatenate((clumped, rng.uniform(0, 100, (m - m // 2, dims)))), rng.uniform(0.5, 2, m)


def test_grid_in_space_goes_east_north_up():
    centroids = Grid(2, 1, 2).centroids(BOX)
    assert centroids.tolist() == [[2, 2, 0.5], [6, 2, 0.5], [2, 2, 1.5], [6, 2, 1.5]]


@pytest.mark.parametrize(
    ("design", "label"),
    [
        (Grid(2, 2), "g22_grid"),
        (Grid(10, 2), "g10x2_grid"),
        (Grid(2, 3, 1), "g231_grid"),
        (KMeans(8), "k8"),
        (KMeans(8, 3), "k8_3d"),
        (Balanced(12), "b12"),
        (Balanced(12, 3), "b12_3d"),
    ],
)
def test_labels_tell_designs_apart(design, label):
    assert design.label == label


@pytest.mark.parametrize(
    "make", [lambda: Grid(2, 0), lambda: Grid(1, 1, 0), lambda: KMeans(0), lambda: Balanced(-1)]
)
def test_designs_that_cannot_be(make):
    with pytest.raises(PartitionError, match="cannot be; give at least one"):
        make()


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 3))
def test_kmeans_is_settled_and_repeatable(seed, k, dims):
    points, weight = clumps(seed, 300, dims)
    centroids = kmeans_centroids(points, weight, k, seed)
    assert np.array_equal(centroids, kmeans_centroids(points, weight, k, seed))
    owner = ((points[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    for i in range(k):
        mine = owner == i
        np.testing.assert_allclose(
            centroids[i], np.average(points[mine], axis=0, weights=weight[mine]), atol=0.5
        )


def test_kmeans_finds_separate_heaps():
    heaps = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    points = np.concatenate(
        [heap + np.random.default_rng(i).normal(0, 1, (50, 2)) for i, heap in enumerate(heaps)]
    )
    found = kmeans_centroids(points, np.ones(150), 3, seed=1)
    assert sorted(np.rint(found / 50).astype(int).tolist()) == [[0, 0], [0, 2], [2, 0]]


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_median_splits_share_out_every_point(seed, k):
    points, weight = clumps(seed, 2000, 2)
    parts = median_split(points, weight, k)
    assert sorted(np.concatenate(parts).tolist()) == list(range(2000))
    shares = np.array([weight[part].sum() for part in parts]) / weight.sum() * k
    assert len(parts) == k
    assert (abs(shares - 1) < 0.1).all()


@pytest.mark.parametrize("k", [1, 2, 3, 7, 12, 16, 30])
@pytest.mark.parametrize("dims", [2, 3])
def test_voronoi_cells_of_balanced_centroids_weigh_the_same(k, dims):
    points, weight = clumps(k, 20_000, dims)
    centroids = balanced_centroids(points, weight, k)
    owner = ((points[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    assert imbalance(np.bincount(owner, weight, k)) < 0.05


def test_imbalance_by_hand():
    assert imbalance(np.array([10.0, 11.0])) == pytest.approx(0.1)
    assert imbalance(np.array([0.0, 11.0])) == np.inf


@pytest.mark.parametrize("design", [Balanced(3), Balanced(4, 3), Balanced(5)])
def test_balanced_experts_have_equally_many_pixels(scene, design):
    made = make_partition(scene, design, 1.1)
    own = own_pixels(scene, load_coverage(scene, made.name), made.n_experts)
    assert own.max() / own.min() < 1.1
    assert made.name == f"{design.label}_bm110"
    assert load_partition(scene, made.name).dims == design.dims
    if design.dims == 2:
        assert (made.centroids[:, 2] == scene.aabb.center[2]).all()


def test_what_cannot_be_balanced_is_refused_with_what_was_reached(scene):
    few = replace(scene, frames=scene.frames[:2])
    with pytest.raises(PartitionError, match=r"of 40 experts differ by (\d+%|inf%) at best.*--kmeans 40"):
        make_partition(few, Balanced(40), 1.1)
    assert not (scene.root / "partitions").exists()
    with pytest.raises(PartitionError, match=r"too few for 100000 experts"):
        make_partition(scene, KMeans(100_000), 1.1)


def test_heavy_places_are_not_split():
    """Two places hold all there is: no third share of it can be had."""
    content = Content(np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]]), np.array([1.0, 1.0, 10.0]))
    with pytest.raises(PartitionError, match="differ by 900% at best"):
        Balanced(3).centroids(content, BOX)


def test_content_is_where_the_pixels_of_the_survey_look(scene):
    content = scene_content(scene, 4)
    assert scene.aabb.contains(content.xyz).all()
    assert abs(np.median(content.xyz[:, 2])) < 3  # the ground
    halves = content.masses(np.array([[-50.0, 0, 0], [50.0, 0, 0]]), 2)
    assert halves.sum() == pytest.approx(content.pixels.sum())
    assert content.pixels.sum() <= len(scene.frames) * 64 * 48


def test_kmeans_partition_is_repeatable_and_its_seed_matters(scene):
    first = make_partition(scene, KMeans(5, 2, seed=3), 1.1, "first")
    again = make_partition(scene, KMeans(5, 2, seed=3), 1.1, "again")
    np.testing.assert_array_equal(first.centroids, again.centroids)
    other = make_partition(scene, KMeans(5, 2, seed=4), 1.1, "other")
    assert not np.array_equal(first.centroids, other.centroids)


@pytest.mark.parametrize("design", [Grid(6, 6), Grid(2, 2, 2), KMeans(9, 3), Balanced(6)])
def test_one_expert_looks_only_where_it_must_and_finds_the_same(scene, design):
    made = make_partition(scene, design, 1.2)
    for expert, expected in enumerate(scene_tiles(scene, made, ("train",), 0.5)):
        tiles = region_tiles(scene, made, expert, ("train",), 0.5)
        for column in ("frame_index", "tile_x", "tile_y", "surface_xy"):
            np.testing.assert_array_equal(getattr(tiles, column), getattr(expected, column))


def test_name_is_refused_before_the_work(scene):
    make_partition(scene, Grid(1, 1), 1.0)
    looked = []
    with pytest.raises(PartitionError, match="g11_grid_bm100 already"):
        make_partition(scene, Grid(1, 1), 1.0, progress=lambda done, total: looked.append(done))
    assert not looked


@pytest.mark.parametrize("design", [Balanced(4), Balanced(7), Balanced(16), Balanced(7, 3)])
def test_made_survey_can_be_balanced(tiny_scene, design):
    content = scene_content(tiny_scene, design.n_experts)
    centroids = design.centroids(content, tiny_scene.aabb)
    assert imbalance(content.masses(centroids, design.dims)) < 0.05


def test_real_survey_can_be_balanced(shared_data, tmp_path):
    scene = prepare_scene(shared_data / "data/drz", tmp_path / "scene", kind="transforms")
    for design in (Balanced(4), Balanced(7), Balanced(16), Balanced(16, 3)):
        made = make_partition(scene, design, 1.1)
        assert imbalance(own_pixels(scene, load_coverage(scene, made.name), made.n_experts)) < 0.1


def test_hundred_regions_of_a_real_survey_need_little_memory(shared_data, tmp_path):
    prepare_scene(shared_data / "data/drz", tmp_path / "scene", kind="transforms")
    program = (
        "import sys; from anerf.partition.build import grid_partition\n"
        "from anerf.scene.scene import load_scene; grid_partition(load_scene(sys.argv[1]), 10, 10, 1.1)\n"
        "from tests.memory import peak_mb; print(peak_mb())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "scene")]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1500  # of which 300 are Python with its libraries

"""Coverage against the definition of routing, along rays; and that what is left out unseen is not there."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb
from anerf.partition.coverage import seen_tiles
from anerf.partition.reach import Reach
from anerf.partition.regions import Partition
from anerf.partition.routing import in_support
from anerf.scene.height import height_bounds

cases = st.tuples(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.sampled_from((2, 3)),
    st.sampled_from((1.0, 1.05, 1.3, 2.0)),
)
# The fixture is only read.
once = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
DENSE = 2000


def random_partition(case, aabb: Aabb) -> Partition:
    seed, n_experts, dims, margin = case
    rng = np.random.default_rng(seed)
    return Partition("some", rng.uniform(aabb.lo, aabb.hi, (n_experts, 3)), dims, margin, (), "at random")


def supports(partition: Partition, xyz: np.ndarray, margin: float | None = None) -> np.ndarray:
    margin = partition.margin if margin is None else margin
    return in_support(
        torch.from_numpy(xyz), torch.from_numpy(partition.centroids), margin, partition.dims
    ).numpy()


@once
@given(cases)
def test_coverage_of_rays_is_the_union_over_their_points(scene, case):
    """Looked at densely between the height bounds: nobody is missing for long, nobody is there in vain."""
    partition = random_partition(case, scene.aabb)
    frame = scene.frames[case[0] % len(scene.frames)]
    bounds = height_bounds(scene.points()[0], scene.aabb)
    one = replace(scene, frames=(frame,))
    for seen in seen_tiles(one, partition, ("train",), 0.5):
        for row in np.random.default_rng(case[0]).integers(0, len(seen.tile_x), 3):
            # The camera's middle, the surface: a ray through both.
            rays_o, toward = frame.c2w[:, 3], seen.surface[row] - frame.c2w[:, 3]
            t = np.linspace(0, 1.6, 2 * DENSE)
            points = rays_o + t[:, None] * toward
            inside = scene.aabb.contains(points)
            low, high = bounds.at(points[:, :2])
            inside &= np.logical_and.accumulate(~inside | (points[:, 2] >= low)) & (points[:, 2] <= high)
            likely = inside & (abs(points[:, 2] - (low + high) / 2) <= (high - low) / 4)
            there = supports(partition, points)
            # A step of the march, in points: at most a 24th of the way through the band of all heights.
            step = (
                int(np.ceil((bounds.high.max() - bounds.low.min()) / abs(toward[2]) / 24 / (t[1] - t[0]))) + 2
            )
            for expert in range(partition.n_experts):
                stays = (there[:, expert] & likely).astype(int)
                longest = max((len(run) for run in "".join(map(str, stays)).split("0")), default=0)
                if longest > step:
                    assert seen.experts[row, expert]
                if seen.experts[row, expert]:
                    assert supports(partition, points[inside], partition.margin + 1e-3)[:, expert].any()
            assert (seen.experts[row] | ~supports(partition, seen.surface[row : row + 1])[0]).all()


@once
@given(cases)
def test_at_margin_one_each_sample_has_one_expert(scene, case):
    partition = replace(random_partition(case, scene.aabb), margin=1.0)
    points = np.random.default_rng(case[0]).uniform(scene.aabb.lo, scene.aabb.hi, (500, 3))
    assert (supports(partition, points).sum(axis=1) == 1).all()


@given(cases, st.floats(0, 1.5), st.floats(0, 6.3), st.floats(0, 0.6))
def test_no_ray_that_reaches_a_region_is_left_out(case, tilt_rad, turn_rad, widest_rad):
    """Views and rays at random, against points all along the rays."""
    aabb = Aabb((-100.0, -80.0, -5.0), (100.0, 80.0, 40.0))
    partition = random_partition(case, aabb)
    rng = np.random.default_rng(case[0])
    cos, sin = np.cos(tilt_rad), np.sin(tilt_rad)
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    back = np.array([c * sin, s * sin, cos])
    right = np.array([-s, c, 0.0])
    c2w = np.column_stack(
        (right, np.cross(back, right), back, rng.uniform((-120, -120, 20), (120, 120, 150)))
    )
    around = rng.uniform(0, 2 * np.pi, 40)
    away = widest_rad * np.sqrt(rng.uniform(0, 1, 40))
    camera_d = np.stack((np.sin(away) * np.cos(around), np.sin(away) * np.sin(around), -np.cos(away)), axis=1)
    rays_d = camera_d @ c2w[:, :3].T
    rays_o = np.broadcast_to(c2w[:, 3], rays_d.shape)
    near, far = np.full(40, 0.0), rng.uniform(10, 400, 40)
    t = near[:, None] + np.linspace(0, 1, 200) * (far - near)[:, None]
    points = rays_o[:, None] + t[..., None] * rays_d[:, None]
    there = supports(partition, points.reshape(-1, 3)).reshape(40, 200, -1)
    in_band = (points[..., 2] >= aabb.lo[2]) & (points[..., 2] <= aabb.hi[2])
    for expert in range(partition.n_experts):
        reach = Reach.of(partition, expert)
        assert (reach.of_segments(rays_o, rays_d, near, far) | ~there[..., expert].any(axis=1)).all()
        if (there[..., expert] & in_band).any():
            assert reach.of_view(c2w, widest_rad, aabb)


def test_far_views_and_rays_are_left_out():
    centroids = np.array([[x, 0.0, 0.0] for x in range(0, 1000, 100)])
    partition = Partition("row", centroids, 2, 1.1, (), "by hand")
    down = np.column_stack((np.diag((1.0, 1.0, 1.0)), (0.0, 0.0, 100.0)))
    band = Aabb((-50.0, -50.0, 0.0), (950.0, 50.0, 20.0))
    seen = [Reach.of(partition, i).of_view(down, np.pi / 4, band) for i in range(10)]
    # A circle of 100 m around the first, which nobody is further from than 100 m; the third is 100 m away.
    assert seen == [True] * 3 + [False] * 7
    rays_o, rays_d = np.array([[0.0, 0.0, 100.0]]), np.array([[0.0, 0.0, -1.0]])
    alone = [
        Reach.of(partition, i).of_segments(rays_o, rays_d, np.zeros(1), np.full(1, 90.0))[0] for i in range(3)
    ]
    assert alone == [True, False, False]

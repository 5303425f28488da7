"""Adaptation: what it learns from, what it replays, and that it works."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anerf.errors import SceneError
from anerf.learn.adapt import Adapter, AdaptSettings, ray_colors, ray_errors
from anerf.learn.evaluate import support_and_query
from anerf.learn.ground import STALE_CELL_M
from anerf.learn.optimiser import Rates
from anerf.learn.rays import RaySource
from anerf.partition.coverage import region_tiles
from anerf.scene.pixels import open_pixels

RATES = Rates(0.02, 0.004, 0.004, 1e-3, warmup_steps=4)
names = st.lists(st.text("abc019_", min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(names)
def test_every_third_photograph_in_name_order_is_only_measured_on(files):
    support, query = support_and_query(files)
    assert sorted(support + query) == list(range(len(files)))
    assert [files[i] for i in query] == sorted(files)[1::3]
    assert query
    assert support


@given(names, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_the_files(files, random):
    shuffled = files.copy()
    random.shuffle(shuffled)
    one, other = ({order[i] for i in support_and_query(order)[1]} for order in (files, shuffled))
    assert one == other


@pytest.mark.parametrize("files", [[], ["a"]])
def test_a_single_photograph_leaves_nothing_to_measure_on(files):
    with pytest.raises(SceneError, match=f"batch of {len(files)} photograph.* bring at least 2"):
        support_and_query(files)


def test_another_season_is_no_error_but_a_change_is(rays_of):
    batch = rays_of("after").draw(3000, torch.Generator().manual_seed(1))
    before = (batch.rgb - 0.1) / 0.7  # what all rays have in common is the day
    assert ray_errors(batch, before).mean() < 0.02 * ((before - batch.rgb) ** 2).mean()
    before[:30] = 1 - before[:30]
    errors = ray_errors(batch, before)
    assert errors[:30].mean() > 20 * errors[30:].mean()
    masked = replace(batch, weight=torch.zeros_like(batch.weight))
    assert not ray_errors(masked, before).any()


def adapter(learner, state, new_rays, old_rays, *, replay=0.5, seed=0):
    return Adapter(0, seed, learner, AdaptSettings(256, replay), RATES, state, new_rays, old_rays)


def mean_error(learner, state, source):
    """Mean squared error over rays that are the same in every call."""
    batch = source.draw(2000, torch.Generator().manual_seed(11))
    rgb = ray_colors(learner, state, batch, torch.Generator().manual_seed(12))
    return float(((rgb - batch.rgb) ** 2).mean())


def test_adapting_fits_the_new_flight_and_keeps_the_old_one(learner, trained, rays_of, train_rays):
    new_rays = rays_of("after")
    before_new, before_old = (mean_error(learner, trained, rays) for rays in (new_rays, train_rays))
    background = trained.background.detach().clone()
    adapting = adapter(learner, trained, new_rays, train_rays)
    report = adapting.advance(40)
    assert (adapting.step, report.step, report.n_rays) == (40, 40, 40 * 256)
    assert mean_error(learner, trained, new_rays) < 0.8 * before_new
    assert mean_error(learner, trained, train_rays) < 1.3 * before_old
    assert torch.equal(trained.background, background), "the background is shared with other experts"


def test_adapting_in_two_stretches_is_adapting_in_one(learner, copy_trained, rays_of, train_rays):
    new_rays = rays_of("after")
    one, two = (adapter(learner, copy_trained(), new_rays, train_rays) for _ in range(2))
    one.advance(4)
    two.advance(1)
    two.advance(4)
    for name, tensor in one.state.tensors().items():
        assert torch.equal(tensor, two.state.tensors()[name]), name


def test_a_step_mixes_new_and_old_rays_as_asked(learner, trained, rays_of, train_rays):
    adapting = adapter(learner, trained, rays_of("after"), train_rays, replay=0.25)
    batch = adapting._batch(torch.Generator().manual_seed(0))
    is_new = (batch.code != 0).any(dim=1)
    assert (len(batch.rays_o), int(is_new.sum())) == (256, 192)
    alone = adapter(learner, trained, rays_of("after"), None)._batch(torch.Generator().manual_seed(0))
    assert (alone.code != 0).any(dim=1).all()


def test_old_rays_are_not_replayed_where_the_new_flight_shows_something_else(
    learner, trained, tiny_scene, whole, train_rays, tmp_path
):
    """The same flight again, with a square of 24 m on the ground painted magenta."""
    middle = np.array(tiny_scene.aabb.center[:2])

    def in_square(xy, half_m):
        return (np.abs(xy - middle) < half_m).all(axis=1)

    tiles = region_tiles(tiny_scene, whole, 0, ("train",), 1.0)
    again = np.unique(tiles.frame_index)
    (tmp_path / "images").mkdir()
    frames = list(tiny_scene.frames)
    for index in again:
        with Image.open(tiny_scene.root / frames[index].file) as photograph:
            picture = np.array(photograph)
        painted = (tiles.frame_index == index) & in_square(tiles.surface_xy, 12)
        for x, y in zip(tiles.tile_x[painted], tiles.tile_y[painted], strict=True):
            picture[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = (255, 0, 255)
        Image.fromarray(picture).save(tmp_path / "images" / f"{index}.png")
        frames[index] = replace(
            frames[index], split="after", file=f"images/{index}.png", sha256=f"{index:064x}"
        )
    # Only pictures that are there may be decoded.
    kept = [frames[index] for index in again]
    flown = replace(tiny_scene, root=tmp_path, frames=tuple(kept))
    position = np.searchsorted(again, tiles.frame_index)
    new_rays = RaySource(
        flown, open_pixels(flown, 1.0), replace(tiles, frame_index=position), ("survey", "after"), "srgb"
    )
    replayed = adapter(learner, trained, new_rays, train_rays).replayed
    xy = train_rays.surface_xy.numpy()
    is_replayed = np.isin(np.arange(len(xy)), replayed)
    assert not is_replayed[in_square(xy, 12 - STALE_CELL_M)].any()
    assert in_square(xy, 12 - STALE_CELL_M).sum() > 20
    far = ~in_square(xy, 12 + 3 * STALE_CELL_M)
    assert is_replayed[far].mean() > 0.7

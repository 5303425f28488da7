"""Training rays: they pass through the pixels whose colours they bring."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from anerf.errors import SceneError
from anerf.field.params import flight_code
from anerf.geometry.cameras import Camera, project
from anerf.geometry.rays import rays_from_pixels
from anerf.learn.rays import RayBatch, RaySource, step_generator
from anerf.learn.tasks import TaskCells
from anerf.partition.coverage import ExpertTiles, region_tiles
from anerf.render.color import srgb_to_linear
from anerf.scene.pixels import open_pixels
from anerf.scene.scene import Scene

SEED = 3


def tiles_of(*tiles: tuple[int, int, int], side: int = 8) -> ExpertTiles:
    """Tiles (frame, x, y) at made-up places on the ground."""
    frame, x, y = np.array(tiles).T
    return ExpertTiles(side, frame, x, y, np.stack((x, y), axis=1).astype(float))


def pixels_hit(scene: Scene, source: RaySource, batch: RayBatch) -> torch.Tensor:
    """Pixel positions (n, 2) that the rays pass through, found by projecting a point of each, in metres."""
    points = (batch.rays_o.double() + batch.rays_d.double()) * scene.scale + torch.tensor(scene.origin)
    xy = torch.empty(len(points), 2, dtype=torch.float64)
    for i, frame_index in enumerate(source.frame[batch.tile].tolist()):
        frame = scene.frames[frame_index]
        pose = torch.from_numpy(frame.c2w)
        seen, in_front = project(frame.camera, ((points[i] - pose[:, 3]) @ pose[:, :3])[None])
        assert in_front.all()
        xy[i] = seen[0]
    return xy


@pytest.mark.parametrize("splits", [("train",), ("val", "after")])
def test_rays_pass_through_the_middles_of_pixels_of_their_tiles_and_bring_their_colours(
    splits, tiny_scene, rays_of
):
    source = rays_of(*splits)
    batch = source.draw(400, torch.Generator().manual_seed(SEED))
    xy = pixels_hit(tiny_scene, source, batch)
    pixel = xy.floor().long()
    assert (xy - pixel - 0.5).abs().max() < 0.02
    assert torch.equal(pixel // 8, source.tile_xy[batch.tile])
    for i, frame in enumerate(source.frame[batch.tile].tolist()):
        with Image.open(tiny_scene.root / tiny_scene.frames[frame].file) as photograph:
            color = photograph.getpixel((int(pixel[i, 0]), int(pixel[i, 1])))
        assert (batch.rgb[i] * 255).round().int().tolist() == list(color)
    assert {tiny_scene.frames[f].split for f in source.frame.tolist()} == set(splits)


def test_every_pixel_of_a_tile_is_drawn(tiny_scene, pixels):
    source = RaySource(tiny_scene, pixels, tiles_of((0, 4, 3)), ("survey",), "srgb")
    batch = source.draw(1000, torch.Generator().manual_seed(SEED))
    seen = {tuple(p) for p in pixels_hit(tiny_scene, source, batch).floor().long().tolist()}
    assert seen == {(x, y) for x in range(32, 40) for y in range(24, 32)}


def test_directions_are_those_of_the_camera_at_its_place(tiny_scene, rays_of):
    source = rays_of("train")
    xy = torch.tensor([[0, 0], [95, 71], [40, 7]])
    frame = torch.tensor([5, 5, 11])
    batch = source.at_pixels(frame, xy, torch.zeros(3, dtype=torch.int64))
    for i, index in enumerate(frame.tolist()):
        truth = tiny_scene.frames[index]
        rays_o, rays_d = rays_from_pixels(
            truth.camera, torch.from_numpy(truth.c2w), xy[i : i + 1].double() + 0.5
        )
        assert torch.allclose(batch.rays_d[i].double(), rays_d[0], atol=1e-6)
        at_m = batch.rays_o[i].double().numpy() * tiny_scene.scale + tiny_scene.origin
        assert at_m == pytest.approx(rays_o[0].numpy(), abs=1e-4)
    assert batch.rays_d.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_several_cameras_each_with_their_own_rays(tiny_scene, pixels):
    """A second camera of another focal length: its frame's rays come from it, in whatever order they are."""
    wide = Camera("PINHOLE", 96, 72, (50.0, 50.0, 40.0, 30.0))
    frames = list(tiny_scene.frames)
    frames[1] = replace(frames[1], camera=wide)
    mixed = replace(tiny_scene, frames=tuple(frames))
    source = RaySource(mixed, open_pixels(mixed, 1.0), tiles_of((0, 2, 2), (1, 5, 4)), ("survey",), "srgb")
    batch = source.draw(60, torch.Generator().manual_seed(SEED))
    xy = pixels_hit(mixed, source, batch)
    assert torch.equal(xy.floor().long() // 8, source.tile_xy[batch.tile])
    assert len(batch.tile.unique()) == 2


def test_colours_come_in_the_space_of_the_loss(rays_of):
    srgb, linear = (
        rays_of("train", color_space=space).draw(50, torch.Generator().manual_seed(SEED))
        for space in ("srgb", "linear")
    )
    assert torch.allclose(linear.rgb, srgb_to_linear(srgb.rgb))
    assert not torch.allclose(linear.rgb, srgb.rgb)


def test_rays_know_their_flight(tiny_scene, rays_of):
    source = rays_of("train", "after")
    batch = source.draw(200, torch.Generator().manual_seed(SEED))
    is_new = torch.tensor([tiny_scene.frames[f].split == "after" for f in source.frame[batch.tile].tolist()])
    assert 0 < is_new.sum() < len(is_new)
    assert (batch.code[is_new] == flight_code(1)).all()
    assert (batch.code[~is_new] == flight_code(0)).all()


def test_a_flight_without_a_code_is_refused(tiny_scene, pixels):
    last = len(tiny_scene.frames) - 1
    with pytest.raises(SceneError, match=r"\['after'\] have no code .* knows \['survey'\]"):
        RaySource(tiny_scene, pixels, tiles_of((last, 0, 0)), ("survey",), "srgb")


def test_a_region_that_nobody_sees_is_refused(tiny_scene, pixels):
    empty = np.empty(0, int)
    with pytest.raises(SceneError, match="add photographs there"):
        RaySource(
            tiny_scene, pixels, ExpertTiles(8, empty, empty, empty, np.empty((0, 2))), ("survey",), "srgb"
        )


def test_masked_pixels_weigh_nothing(tiny_scene, tmp_path):
    mask = np.full((72, 96), 255, np.uint8)
    mask[:, :10] = 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "m.png")
    (tmp_path / "images").symlink_to(tiny_scene.root / "images")
    frames = list(tiny_scene.frames)
    frames[0] = replace(frames[0], mask="masks/m.png")
    masked = replace(tiny_scene, root=tmp_path, frames=tuple(frames))
    tiles = tiles_of(*((frame, x, 2) for frame in (0, 1) for x in (0, 1)))
    source = RaySource(masked, open_pixels(masked, 1.0), tiles, ("survey",), "srgb")
    batch = source.draw(300, torch.Generator().manual_seed(SEED))
    column = pixels_hit(masked, source, batch)[:, 0]
    hidden = (source.frame[batch.tile] == 0) & (column < 10)
    assert 0 < hidden.sum() < len(hidden)
    assert torch.equal(batch.weight, (~hidden).float())


@pytest.mark.parametrize("tile", [10, 7])
def test_tiles_at_the_edge_of_a_picture_stay_inside(tile, tiny_scene, whole, rays_of):
    """Neither 10 nor 7 divides both sides of 96 x 72 pixels: the last tiles stick out."""
    source = rays_of("train", tile=tile)
    sticking_out = ((source.tile_xy + 1) * tile > torch.tensor([96, 72])).any(dim=1).nonzero()[:, 0]
    assert len(sticking_out) > 0
    batch = source.draw(500, torch.Generator().manual_seed(SEED), sticking_out)
    assert torch.isin(batch.tile, sticking_out).all()
    pixel = pixels_hit(tiny_scene, source, batch).floor().long()
    assert ((pixel >= 0) & (pixel < torch.tensor([96, 72]))).all()
    assert torch.equal(pixel // tile, source.tile_xy[batch.tile])


def test_downscaled_pictures_have_rays_of_their_own_size(tiny_scene, whole):
    """At 0.55 the pictures have 53 x 40 pixels: rays span the same field of view."""
    store = open_pixels(tiny_scene, 0.55)
    assert store.size(0) == (53, 40)
    tiles = region_tiles(tiny_scene, whole, 0, ("train",), 0.55)
    source = RaySource(tiny_scene, store, tiles, ("survey",), "srgb")
    batch = source.draw(300, torch.Generator().manual_seed(SEED))
    # Projected with the full camera: middles of large pixels, 96 / 53 wide and 72 / 40 high.
    xy = pixels_hit(tiny_scene, source, batch) * torch.tensor([53 / 96, 40 / 72])
    pixel = xy.floor().long()
    assert (xy - pixel - 0.5).abs().max() < 0.02
    assert torch.equal(pixel // 8, source.tile_xy[batch.tile])
    colors = [store.image(f)[y, x] for f, (x, y) in zip(source.frame[batch.tile], pixel, strict=True)]
    assert torch.equal((batch.rgb * 255).round().byte(), torch.from_numpy(np.array(colors)))


@pytest.mark.parametrize("cell_dim", [1, 5])
def test_tasks_keep_support_and_query_photographs_apart(cell_dim, train_rays):
    cells = TaskCells(train_rays, cell_dim)
    extent = train_rays.surface_xy.amax(0) - train_rays.surface_xy.amin(0)
    generator = torch.Generator().manual_seed(SEED)
    drawn = set()
    for _ in range(60):
        task = cells.draw(generator)
        support = set(train_rays.frame[task.support].tolist())
        query = set(train_rays.frame[task.query].tolist())
        assert support
        assert query
        assert not support & query
        xy = train_rays.surface_xy[torch.cat([task.support, task.query])]
        assert (xy.amax(0) - xy.amin(0) <= extent / cell_dim + 1e-4).all()
        drawn.add(frozenset(support | query))
    assert len(cells) <= cell_dim**2
    assert len(drawn) > 1 or cell_dim == 1


def test_tasks_need_two_photographs_of_a_cell(tiny_scene, pixels):
    source = RaySource(tiny_scene, pixels, tiles_of((0, 0, 0), (1, 9, 9)), ("survey",), "srgb")
    assert len(TaskCells(source, 1)) == 1
    with pytest.raises(SceneError, match="smaller cell_dim than 5, or algo plain"):
        TaskCells(source, 5)


def test_random_numbers_depend_on_seed_expert_step_and_purpose():
    def draw(*key):
        return torch.rand(4, generator=step_generator(*key)).tolist()

    assert draw(1, 2, 3, "train") == draw(1, 2, 3, "train")
    others = [(0, 2, 3, "train"), (1, 0, 3, "train"), (1, 2, 4, "train"), (1, 2, 3, "adapt")]
    assert all(draw(*key) != draw(1, 2, 3, "train") for key in others)

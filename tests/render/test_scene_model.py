"""All experts as one scene: routing, blending, depth and flights, on fields whose pictures are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from anerf.errors import InputError, JobCancelled
from anerf.field.backend import DensityScale, TorchBackend
from anerf.field.params import FieldParams, init_field, init_mlp
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.geometry.rays import look_at, rays_from_pixels
from anerf.render import picture
from anerf.render.density_grid import DensityGrid
from anerf.render.expert import ExpertModel, FieldSetting
from anerf.render.picture import pixel_centers, render_picture
from anerf.render.samples import March, Sampling
from anerf.render.scene_model import SceneModel

SPEC = FieldSpec(
    n_levels=3, features_per_level=2, log2_hashmap_size=10, base_resolution=4, max_resolution=16,
    sigma_depth=1, color_depth=1, sigma_width=16, color_width=16, dir_encoding="spherical",
    density_cap_per_m=10.0, color_space="srgb", background="0.1,0.2,0.3", background_width=16,
    sample_floor=0.3,
)  # fmt: skip
SCALE_M = 40.0
ORIGIN = (100.0, -30.0, 12.0)
BOX_M = Aabb((60.0, -70.0, 0.0), (140.0, 10.0, 24.0))
GROUND_M = 6.0
SIDE = max(BOX_M.size) / SCALE_M
"""Of the experts' cube, in learning units: here all experts have the scene's box."""
RED, BLUE = (0.9, 0.1, 0.0), (0.0, 0.2, 0.8)


@dataclass(frozen=True)
class Slab:
    """A field that is opaque below `GROUND_M` and empty above; an expert's colour lies in its parameters."""

    name: str = "slab"

    def ray_features(self, dirs, code, layout):
        return code

    def density(self, x, params, layout, scale):
        z_m = x[:, 2] * SIDE * SCALE_M + BOX_M.lo[2]
        return torch.where(z_m < GROUND_M, 20.0 * SCALE_M, 0.0)

    def query(self, x, ray_features, ray_index, params, layout, scale):
        return params.color_mlp.expand(len(x), 3), self.density(x, params, layout, scale)


def in_learning_frame(box: Aabb) -> Aabb:
    lo, hi = ((np.array(corner) - ORIGIN) / SCALE_M for corner in (box.lo, box.hi))
    return Aabb(tuple(lo.tolist()), tuple(hi.tolist()))


def slab_expert(color) -> ExpertModel:
    """An expert whose density grid of 1 m layers knows where the slab is."""
    box = in_learning_frame(BOX_M)
    values = torch.zeros(24, 4, 4)
    values[: int(GROUND_M)] = 20.0 * SCALE_M
    params = FieldParams(torch.zeros(1), torch.zeros(1), torch.tensor(color))
    return ExpertModel(params, DensityGrid(torch.tensor(box.lo), torch.tensor(box.hi), values), box)


def random_expert(seed: int, *, knows_flights: bool = True) -> ExpertModel:
    """An expert with a real field: a clouded place with colours."""
    box = in_learning_frame(BOX_M)
    generator = torch.Generator().manual_seed(seed)
    fresh = init_field(SPEC.layout(), generator)
    color_mlp = init_mlp(SPEC.layout().color_mlp, generator) if knows_flights else fresh.color_mlp
    params = FieldParams(fresh.grid * 2e4, fresh.sigma_mlp, color_mlp * 2)
    values = 5 * torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(seed + 100))
    return ExpertModel(params, DensityGrid(torch.tensor(box.lo), torch.tensor(box.hi), values), box)


def scene(experts, centroids, backend, margin=1.1, **changes) -> SceneModel:
    setting = FieldSetting(backend, SPEC.layout(), DensityScale.of(SCALE_M, SPEC.density_cap_per_m))
    return SceneModel(
        **{
            "scene_name": "block", "reference": GeodeticReference(50, 7, 100), "crs": "EPSG:32632",
            "origin": ORIGIN, "scale": SCALE_M, "aabb": BOX_M, "flights": ("survey", "after"),
            "experts": tuple(str(i) for i in range(len(experts))),
            "partition_centroids": np.array(centroids), "dims": 2, "margin": margin, "spec": SPEC,
            "setting": setting, "models": tuple(experts), "background": None, **changes,
        }
    )  # fmt: skip


WEST, EAST = (80.0, -30.0, 12.0), (120.0, -30.0, 12.0)
CAMERA = Camera.from_fov(48, 36, 50)
DOWN = look_at((100.0, -30.0, 90.0), (100.0, -30.0, 0.0))
OBLIQUE = look_at((60.0, -75.0, 60.0), (100.0, -30.0, 6.0))


@pytest.fixture
def halves():
    """Red ground in the west, blue ground in the east."""
    return scene([slab_expert(RED), slab_expert(BLUE)], [WEST, EAST], Slab(), margin=1.0)


def ground_hit(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel's ray meets the slab's top (h, w, 2; ENU metres) and how far away (h, w)."""
    rays_o, rays_d = rays_from_pixels(CAMERA, torch.from_numpy(pose), pixel_centers(CAMERA).double())
    t = (GROUND_M - rays_o[:, 2]) / rays_d[:, 2]
    shape = (CAMERA.height, CAMERA.width)
    return (rays_o + t[:, None] * rays_d)[:, :2].numpy().reshape(*shape, 2), t.numpy().reshape(shape)


def inside_box(xy_m: np.ndarray, margin_m: float) -> np.ndarray:
    lo, hi = np.array(BOX_M.lo[:2]) + margin_m, np.array(BOX_M.hi[:2]) - margin_m
    return ((xy_m > lo) & (xy_m < hi)).all(axis=-1)


@pytest.mark.parametrize("pose", [DOWN, OBLIQUE], ids=["down", "oblique"])
def test_depth_is_the_way_to_the_surface_in_metres(pose, halves):
    seen = render_picture(halves, CAMERA, pose, samples=64)
    xy_m, way_m = ground_hit(pose)
    inside = inside_box(xy_m, 6.0)
    assert inside.sum() > 300
    assert seen.opacity[inside].min() > 0.99
    assert np.abs(seen.depth_m - way_m)[inside].max() < 0.5
    assert np.abs(seen.depth_m - way_m)[inside].mean() < 0.25


def test_a_ray_beside_the_box_sees_the_background_and_nothing_else(halves):
    up = look_at((100.0, -30.0, 90.0), (100.0, -20.0, 190.0))
    seen = render_picture(halves, CAMERA, up)
    assert np.abs(seen.rgb - (0.1, 0.2, 0.3)).max() < 1e-6
    assert not seen.opacity.any()
    assert not seen.depth_m.any()
    assert (seen.expert == -1).all()


@pytest.mark.parametrize("pose", [DOWN, OBLIQUE], ids=["down", "oblique"])
def test_with_margin_one_every_place_is_its_nearest_experts_alone(pose, halves):
    seen = render_picture(halves, CAMERA, pose, samples=64)
    xy_m, _ = ground_hit(pose)
    # Not within a sample's length of the border.
    clear = inside_box(xy_m, 6.0) & (np.abs(xy_m[..., 0] - 100.0) > 2.0)
    west = clear & (xy_m[..., 0] < 100.0)
    east = clear & (xy_m[..., 0] > 100.0)
    assert min(west.sum(), east.sum()) > 100
    assert (seen.expert[west] == 0).all()
    assert (seen.expert[east] == 1).all()
    assert np.abs(seen.rgb[west] - RED).max() < 0.01
    assert np.abs(seen.rgb[east] - BLUE).max() < 0.01


def test_neighbours_blend_by_inverse_distance_within_the_margin(halves):
    soft = replace(halves, margin=1.5)
    seen = render_picture(soft, CAMERA, DOWN, samples=64)
    xy_m, _ = ground_hit(DOWN)
    way_m = np.stack([np.linalg.norm(xy_m - np.array(c[:2]), axis=-1) for c in (WEST, EAST)], axis=-1)
    inverse = np.where(way_m <= 1.5 * way_m.min(axis=-1, keepdims=True), 1 / way_m, 0)
    weight = inverse / inverse.sum(axis=-1, keepdims=True)
    expected = weight @ np.array([RED, BLUE])
    inside = inside_box(xy_m, 6.0)
    mixed = inside & (weight.min(axis=-1) > 0.3)
    assert mixed.sum() > 50
    # Where the ray goes on below the surface it is a little further out.
    assert np.abs(seen.rgb - expected)[mixed].max() < 0.05
    pure = inside & (way_m.max(axis=-1) > 1.6 * way_m.min(axis=-1))
    assert np.abs(seen.rgb - expected)[pure].max() < 0.01


@pytest.mark.parametrize("margin", [1.0, 1.3])
def test_one_expert_alone_leaves_the_others_regions_empty(margin, halves):
    model = replace(halves, margin=margin)
    alone = render_picture(model, CAMERA, DOWN, samples=64, only_expert=1)
    together = render_picture(model, CAMERA, DOWN, samples=64)
    xy_m, _ = ground_hit(DOWN)
    way_m = np.stack([np.linalg.norm(xy_m - np.array(c[:2]), axis=-1) for c in (WEST, EAST)], axis=-1)
    inside = inside_box(xy_m, 6.0)
    far_west = inside & (way_m[..., 1] > 1.1 * margin * way_m[..., 0]) & (xy_m[..., 0] < 98)
    assert far_west.sum() > 50
    assert alone.opacity[far_west].max() < 1e-6
    assert (alone.expert[far_west] == -1).all()
    far_east = inside & (way_m[..., 0] > 1.1 * margin * way_m[..., 1]) & (xy_m[..., 0] > 102)
    assert far_east.sum() > 50
    assert np.array_equal(alone.rgb[far_east], together.rgb[far_east])
    assert (alone.expert[far_east] == 1).all()
    # Where regions overlap too, nothing of the other shows.
    opaque = alone.opacity > 0.99
    assert (opaque & ~far_east).sum() > 10
    assert np.abs(alone.rgb[opaque] - BLUE).max() < 0.01


@pytest.mark.parametrize("dims", [2, 3])
def test_two_experts_that_know_the_same_are_as_one(dims):
    expert = random_expert(3)
    one = scene([expert], [BOX_M.center], TorchBackend(), dims=dims)
    two = scene([expert, expert], [WEST, EAST], TorchBackend(), margin=2.0, dims=dims)
    first, second = (render_picture(model, CAMERA, OBLIQUE, samples=24) for model in (one, two))
    assert first.rgb.std(axis=(0, 1)).max() > 0.05
    assert 0.05 < first.opacity.mean() < 0.999
    for layer in ("rgb", "opacity"):
        assert np.abs(getattr(first, layer) - getattr(second, layer)).max() < 1e-4
    assert np.abs(first.depth_m - second.depth_m).max() < 0.01
    assert {0, 1} <= set(np.unique(second.expert))


def test_a_flight_changes_colours_only():
    model = scene([random_expert(1), random_expert(2)], [WEST, EAST], TorchBackend())
    first, survey, after = (
        render_picture(model, CAMERA, OBLIQUE, flight=flight) for flight in (None, "survey", "after")
    )
    for layer in ("rgb", "depth_m", "opacity", "expert"):
        assert np.array_equal(getattr(first, layer), getattr(survey, layer))
    assert np.array_equal(survey.depth_m, after.depth_m)
    assert np.array_equal(survey.opacity, after.opacity)
    assert np.array_equal(survey.expert, after.expert)
    assert np.abs(survey.rgb - after.rgb).mean() > 0.01


def test_a_flight_of_which_nothing_is_known_yet_looks_like_the_first_one():
    model = scene([random_expert(1, knows_flights=False)], [BOX_M.center], TorchBackend())
    survey, after = (render_picture(model, CAMERA, OBLIQUE, flight=flight) for flight in model.flights)
    assert np.array_equal(survey.rgb, after.rgb)


def test_rays_do_not_depend_on_who_is_rendered_with_them(monkeypatch):
    model = scene([random_expert(1), random_expert(2)], [WEST, EAST], TorchBackend())
    whole = render_picture(model, CAMERA, OBLIQUE)
    assert whole.rgb.std(axis=(0, 1)).max() > 0.05
    monkeypatch.setattr(picture, "SAMPLES_AT_ONCE", 16 * 37)
    chunks = render_picture(model, CAMERA, OBLIQUE)
    assert np.abs(whole.rgb - chunks.rgb).max() < 1e-5
    assert np.abs(whole.depth_m - chunks.depth_m).max() < 1e-3
    assert np.array_equal(whole.expert, chunks.expert)


def test_pictures_are_sampled_as_the_field_was_unless_asked_otherwise(halves):
    assert halves.sampling(12) == Sampling.of_picture(12, 0.3)
    marched = halves.sampled("march", 2.0)
    assert marched.sampling(12) == March(2.0 / SCALE_M, 0.02 * SCALE_M, max_samples=12)
    assert marched.sampled(None, None).sampling(12) == marched.sampling(12)
    assert marched.sampled("importance", None).sampling(12) == halves.sampling(12)
    seen = render_picture(marched, CAMERA, DOWN, samples=12)
    same = render_picture(halves, CAMERA, DOWN, samples=marched.sampling(12))
    assert np.array_equal(seen.rgb, same.rgb)
    xy_m, way_m = ground_hit(DOWN)
    inside = inside_box(xy_m, 6.0)
    assert np.abs(seen.depth_m - way_m)[inside].max() < 2.0


def test_far_from_the_origin_of_the_world_nothing_is_lost():
    """Half a million metres away, where float32 is 3 cm coarse: only differences to the origin count."""
    here = scene([random_expert(1), random_expert(2)], [WEST, EAST], TorchBackend())
    away = np.array([400_000.123, -500_000.371, 3_000.707])
    there = replace(
        here,
        origin=tuple((np.array(ORIGIN) + away).tolist()),
        aabb=Aabb(tuple((np.array(BOX_M.lo) + away).tolist()), tuple((np.array(BOX_M.hi) + away).tolist())),
        partition_centroids=here.partition_centroids + away,
    )
    near = OBLIQUE.copy()
    near[:, 3] += (0.013, 0.018, 0.011)  # lost in float32, unlike whole metres
    far = near.copy()
    far[:, 3] += away
    one, other = render_picture(here, CAMERA, near), render_picture(there, CAMERA, far)
    assert one.rgb.std(axis=(0, 1)).max() > 0.05
    assert np.abs(one.rgb - other.rgb).max() < 1e-4
    assert np.abs(one.depth_m - other.depth_m).max() < 1e-2


def test_linear_fields_are_shown_in_srgb():
    """0.5 of linear light is 0.7354 in sRGB (IEC 61966-2-1)."""
    spec = replace(SPEC, color_space="linear", background="0.5,0,1")
    model = scene([slab_expert((0.5, 0.5, 0.5))], [BOX_M.center], Slab(), spec=spec)
    seen = render_picture(model, CAMERA, DOWN, samples=32)
    ground = inside_box(ground_hit(DOWN)[0], 6.0)
    assert np.abs(seen.rgb[ground] - 0.7354).max() < 2e-3
    up = render_picture(model, CAMERA, look_at((100.0, -30.0, 90.0), (100.0, -20.0, 190.0)))
    assert up.rgb[0, 0] == pytest.approx([0.7354, 0, 1], abs=1e-4)


def test_what_does_not_exist_is_refused_by_name(halves):
    with pytest.raises(InputError, match=r"flight 'later' is unknown .* knows survey, after"):
        render_picture(halves, CAMERA, DOWN, flight="later")
    for expert in (-1, 2):
        with pytest.raises(InputError, match=rf"expert {expert} does not exist: .* 0 to 1"):
            render_picture(halves, CAMERA, DOWN, only_expert=expert)


def test_a_picture_that_nobody_wants_any_more_is_stopped(halves, monkeypatch):
    monkeypatch.setattr(picture, "SAMPLES_AT_ONCE", 16 * 500)
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(JobCancelled, match="no longer wanted"):
        render_picture(halves, CAMERA, DOWN, should_stop=should_stop)
    assert len(asked) == 3

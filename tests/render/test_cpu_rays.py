"""Samples, density updates and camera rays by kernels: by hand, by the twin, and by what must hold."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb, intersect_aabb
from anerf.geometry.camera_models import PARAMETER_NAMES
from anerf.geometry.cameras import Camera, pixel_directions, project, seen_positions
from anerf.geometry.rays import look_at, rays_from_pixels
from anerf.render import cpu_rays, torch_rays
from anerf.render.density_grid import DensityGrid
from anerf.render.expert import march_jitter
from anerf.render.guide import Guide
from anerf.render.samples import March, Samples, Sampling

BOX = Aabb((-1.0, -0.5, 0.0), (1.0, 0.75, 0.5))
UNIT = Aabb((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CENTROIDS = torch.tensor([[-0.6, 0.1, 0.4], [0.1, 0.3, 0.2], [0.7, -0.2, 0.1]])


def cloudy_grid(seed: int, shape: tuple[int, int, int] = (5, 7, 9)) -> DensityGrid:
    """A third of the cells is empty, a third holds matter, a third is closed."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, shape, generator=generator)
    values = torch.rand(shape, generator=generator) * 20 + 1
    values[kind == 0], values[kind == 2] = 0.0, -1.0
    return DensityGrid(torch.tensor(BOX.lo), torch.tensor(BOX.hi), values)


def guide_of(kind: str, seed: int = 0) -> Guide:
    """`one` expert, `three` of them, by ground distance (`flat`) too, or `only` the second of three."""
    if kind == "one":
        return Guide.of_expert(BOX, cloudy_grid(seed))
    grids = tuple(cloudy_grid(seed + i, (3 + i, 7, 9 - i)) for i in range(3))
    return Guide(BOX, grids, CENTROIDS, 2 if kind == "flat" else 3, 1 if kind == "only" else None)


GUIDES = ("one", "three", "flat", "only")


def doubled(guide: Guide) -> Guide:
    """The same for the twin in float64."""
    grids = tuple(DensityGrid(g.lo.double(), g.hi.double(), g.values.double()) for g in guide.grids)
    return Guide(guide.box, grids, guide.centroids.double(), guide.dims, guide.only)


def rays(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Most meet the box, some miss it, some start inside, some run along an axis."""
    generator = torch.Generator().manual_seed(seed)
    lo, hi = torch.tensor(BOX.lo), torch.tensor(BOX.hi)
    target = lo + (hi - lo) * (torch.rand(n, 3, generator=generator) * 1.4 - 0.2)
    rays_o = torch.randn(n, 3, generator=generator) * 1.5
    rays_o[::5] = (lo + (hi - lo) * torch.rand(n, 3, generator=generator))[::5]
    rays_d = torch.nn.functional.normalize(target - rays_o, dim=1)
    rays_d[3::17] = torch.tensor([0.0, 0.0, -1.0])
    return rays_o, rays_d


def jitter(n: int, k: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator), torch.rand(n, k + 1, generator=generator)


def differing_rays(one: Samples, other: Samples, tolerance: float) -> int:
    """Rays with another number of samples, or one of them elsewhere."""
    alike = one.offsets.diff() == other.offsets.diff()
    (start, end), (twins_start, twins_end) = (
        torch.stack([s.t_starts, s.t_ends])[:, alike[s.ray_index.long()]] for s in (one, other)
    )
    moved = torch.maximum((start - twins_start).abs(), (end - twins_end).abs()) > tolerance
    ray = one.ray_index[alike[one.ray_index.long()]]
    return int((~alike).sum()) + len(ray[moved].unique())


def assert_packed(samples: Samples, rays_o: torch.Tensor, rays_d: torch.Tensor) -> None:
    """Offsets, ray numbers and middles say the same."""
    counts = samples.offsets[1:] - samples.offsets[:-1]
    assert samples.offsets[0] == 0
    assert torch.equal(samples.ray_index, torch.arange(len(rays_o)).repeat_interleave(counts).int())
    ray = samples.ray_index.long()
    middle = (samples.t_starts + samples.t_ends)[:, None] / 2
    assert torch.allclose(samples.x, rays_o[ray] + rays_d[ray] * middle, atol=1e-6)


def test_samples_by_hand():
    """Nothing is known: four intervals between the middles of five equal parts of t = 1 to 2."""
    guide = Guide.of_expert(UNIT, DensityGrid(torch.zeros(3), torch.ones(3), torch.zeros(2, 2, 2)))
    rays_o, rays_d = torch.tensor([[0.3, 0.6, 2.0], [3.0, 0.6, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]] * 2)
    samples = cpu_rays.importance_samples(
        guide, rays_o, rays_d, Sampling(4, 0.3), torch.full((2,), 0.5), torch.full((2, 5), 0.5)
    )
    assert samples.t_starts.tolist() == pytest.approx([1.1, 1.3, 1.5, 1.7])
    assert samples.t_ends.tolist() == pytest.approx([1.3, 1.5, 1.7, 1.9])
    assert samples.x[:, 2].tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1e-6)
    assert samples.offsets.tolist() == [0, 4, 4]  # the second ray misses
    assert samples.ray_index.tolist() == [0] * 4


def test_marches_by_hand():
    """Matter (density 8) between t = 1.5 and 1.75; a step of 1/8 has an optical depth of 1."""
    values = torch.tensor([0.0, 8.0, 0.0, 0.0])[:, None, None]
    guide = Guide.of_expert(UNIT, DensityGrid(torch.zeros(3), torch.ones(3), values))
    rays_o, rays_d = torch.tensor([[0.3, 0.6, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]])

    def starts(**changes) -> list[float]:
        return cpu_rays.march_samples(
            guide, rays_o, rays_d, March(**{"step": 0.125, "threshold": 0.5} | changes)
        ).t_starts.tolist()

    assert starts() == [1.5, 1.625]
    assert starts(opaque=0.3) == [1.5, 1.625]  # exp(-1) = 0.37 is left after the first
    assert starts(opaque=0.4) == [1.5]
    assert starts(max_samples=1) == [1.5]
    assert starts(threshold=9.0) == []
    assert starts(step=0.0625) == [1.5, 1.5625, 1.625, 1.6875]
    assert starts(step=0.0625, max_samples=2) == [1.5, 1.625]  # twice as long, instead of half of the matter
    assert starts(t_min=1.625) == [1.625]
    assert starts(t_max=1.625) == [1.5]
    last = cpu_rays.march_samples(guide, rays_o, rays_d, March(0.125, 0.5, t_max=1.7))
    assert last.t_ends.tolist() == pytest.approx([1.625, 1.7])
    values.fill_(-1.0)
    assert starts(threshold=-2.0) == []  # what is closed stays so


def test_exploration_by_hand():
    """A ray down through four cells of two steps: empty, opaque, closed, empty. Every second is explored."""
    values = torch.tensor([0.0, -1.0, 80.0, 0.0])[:, None, None]
    guide = Guide.of_expert(UNIT, DensityGrid(torch.zeros(3), torch.ones(3), values))
    rays_o, rays_d = torch.tensor([[0.3, 0.6, 2.0]] * 3), torch.tensor([[0.0, 0.0, -1.0]] * 3)
    march = March(0.125, 0.5, explore_every=2)
    first = torch.tensor([0, 1, 2], dtype=torch.int32)
    for rays in (cpu_rays, torch_rays):
        seen = rays.march_samples(guide, rays_o, rays_d, march, torch.zeros(3), first)
        starts = [part.tolist() for part in seen.t_starts.split(seen.offsets.diff().tolist())]
        # The first step of matter is opaque, and what is behind it is explored as well.
        assert starts == [[1.0, 1.25, 1.375, 1.875], [1.125, 1.25, 1.75], [1.0, 1.25, 1.375, 1.875]]
        early = rays.march_samples(guide, rays_o[:1], rays_d[:1], march, torch.tensor([0.5]), first[:1])
        assert early.t_starts.tolist() == [1.0, 1.1875, 1.3125, 1.8125]
        assert early.t_ends.tolist() == [1.0625, 1.3125, 1.4375, 1.9375]


def test_exploration_reaches_every_open_cell():
    """Whatever the grid believes: of many rays through a cell, about one in `explore_every` looks at it."""
    values = torch.zeros(8, 1, 1)
    values[5] = 1e4  # opaque above five cells
    guide = Guide.of_expert(UNIT, DensityGrid(torch.zeros(3), torch.ones(3), values))
    n, generator = 8000, torch.Generator().manual_seed(0)
    rays_o, rays_d = (
        torch.tensor([[0.3, 0.6, 2.0]]).expand(n, 3),
        torch.tensor([[0.0, 0.0, -1.0]]).expand(n, 3),
    )
    march = March(1 / 16, 0.5, explore_every=16)
    shift, first = march_jitter(n, march, generator)
    samples = cpu_rays.march_samples(guide, rays_o, rays_d, march, shift, first)
    visits = torch.bincount(guide.grids[0].cells(samples.x), minlength=8) / n
    assert visits[[1, 2, 3, 4, 6]] == pytest.approx(2 / 16, rel=0.2)
    assert march_jitter(3, march, None)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("limits", [{}, {"t_min": 0.8, "t_max": 1.6}], ids=["", "between"])
def test_importance_samples_are_the_twins(kind, limits, kernel_variant):
    guide, sampling, n = guide_of(kind), Sampling(12, 0.3, n_coarse=40, **limits), 400
    rays_o, rays_d = rays(n, 1)
    random = jitter(n, 12, 2)
    samples = cpu_rays.importance_samples(guide, rays_o, rays_d, sampling, *random)
    twins = torch_rays.importance_samples(
        doubled(guide), rays_o.double(), rays_d.double(), sampling, *(j.double() for j in random)
    )
    assert_packed(samples, rays_o, rays_d)
    assert n / 10 < (samples.offsets.diff() > 0).sum() < n
    # A coarse step that is read within a rounding of a cell's border may be another cell's.
    assert differing_rays(samples, twins, 2e-5) <= n // 100


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("limits", [{}, {"t_min": 0.8, "t_max": 1.6}], ids=["", "between"])
@pytest.mark.parametrize("explore_every", [0, 4])
def test_marches_are_the_twins(kind, limits, explore_every, kernel_variant):
    march = March(0.03, 2.0, 1e-2, 20, **limits, explore_every=explore_every)
    guide, n = guide_of(kind), 400
    rays_o, rays_d = rays(n, 3)
    shift, first = march_jitter(n, march, torch.Generator().manual_seed(4) if explore_every else None)
    samples = cpu_rays.march_samples(guide, rays_o, rays_d, march, shift, first)
    twins = torch_rays.march_samples(
        doubled(guide), rays_o.double(), rays_d.double(), march, shift.double(), first
    )
    assert_packed(samples, rays_o, rays_d)
    counts = samples.offsets.diff()
    assert len(counts.unique()) > 8
    assert differing_rays(samples, twins, 1e-5) <= n // 100


def test_only_one_experts_matter_is_met():
    guide = guide_of("only")
    rays_o, rays_d = rays(300, 4)
    samples = cpu_rays.march_samples(guide, rays_o, rays_d, March(0.03, 0.5))
    assert len(samples.x) > 100
    nearest = torch.cdist(samples.x, CENTROIDS).argmin(1)
    assert (nearest == 1).float().mean() > 0.99  # the last step of a ray is cut, and its middle moved
    everywhere = cpu_rays.march_samples(guide_of("three"), rays_o, rays_d, March(0.03, 0.5))
    assert len(everywhere.x) > len(samples.x)


@pytest.mark.parametrize("n_threads", [2, 5])
def test_any_number_of_threads_draws_the_same(n_threads, threads):
    guide, (rays_o, rays_d), random = guide_of("three"), rays(700, 5), jitter(700, 8, 6)
    drawn = []
    for number in (1, n_threads):
        threads(number)
        drawn.append(cpu_rays.importance_samples(guide, rays_o, rays_d, Sampling(8, 0.3), *random))
        drawn.append(cpu_rays.march_samples(guide, rays_o, rays_d, March(0.05, 1.0)))
    for one, other in zip(drawn[:2], drawn[2:], strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_no_rays_draw_no_samples():
    guide, (rays_o, rays_d) = guide_of("three"), rays(0, 0)
    for samples in (
        cpu_rays.importance_samples(guide, rays_o, rays_d, Sampling(8, 0.3), *jitter(0, 8, 0)),
        cpu_rays.march_samples(guide, rays_o, rays_d, March(0.05, 1.0)),
    ):
        assert samples.x.shape == (0, 3)
        assert samples.offsets.tolist() == [0]


def allowed_near(
    guide: Guide, o: torch.Tensor, d: torch.Tensor, t: torch.Tensor, reach: float
) -> torch.Tensor:
    """The highest density at each t (of each ray) or `reach` beside it; below 0 where all is closed."""
    found = []
    for moved in (t - reach, t, t + reach):
        sigma, allowed = guide.lookup(o[:, None] + d[:, None] * moved[..., None])
        found.append(torch.where(allowed, sigma, -1.0))
    return torch.stack(found).amax(0)


@settings(max_examples=60)
@given(
    st.integers(0, 2**31), st.sampled_from(GUIDES), st.integers(1, 20), st.integers(1, 64), st.floats(0, 1)
)
def test_intervals_touch_and_lie_in_open_space(seed, kind, k, n_coarse, floor):
    guide, (rays_o, rays_d), n = guide_of(kind, seed % 7), rays(30, seed), 30
    sampling = Sampling(k, floor, t_min=0.3, t_max=2.5, n_coarse=n_coarse)
    random = jitter(n, k, seed)
    samples = cpu_rays.importance_samples(guide, rays_o, rays_d, sampling, *random)
    hit = samples.offsets.diff() > 0
    assert (samples.offsets.diff()[hit] == k).all()
    if not hit.any():
        return
    starts, ends = samples.t_starts.view(-1, k), samples.t_ends.view(-1, k)
    assert (ends >= starts).all()
    assert torch.equal(starts[:, 1:], ends[:, :-1])
    o, d, u = rays_o[hit].double(), rays_d[hit].double(), random[0][hit].double()
    near, far = intersect_aabb(o, d, BOX)
    near, far = near.clamp(min=0.3), far.clamp(max=2.5)
    assert (starts >= near[:, None] - 1e-5).all()
    assert (ends <= far[:, None] + 1e-5).all()
    # Each border lies in (or on the edge of) a coarse step whose reading says that something may be there.
    step = (far - near)[:, None] / n_coarse
    border = (torch.cat([starts[:, :1], ends], 1).double() - near[:, None]) / step
    cells = [(border + aside).floor().clamp(0, n_coarse - 1) for aside in (-2e-3, 2e-3)]
    read_at = [near[:, None] + step * (cell + u[:, None]) for cell in cells]
    readings = [allowed_near(doubled(guide), o, d, t, 1e-5) for t in read_at]
    assert (torch.stack(readings).amax(0) >= 0).all()


@settings(max_examples=60)
@given(
    st.integers(0, 2**31), st.sampled_from(GUIDES), st.floats(0.01, 3), st.floats(0, 12), st.integers(1, 30)
)
def test_marched_steps_are_even_and_lie_in_matter(seed, kind, step, threshold, most):
    guide, (rays_o, rays_d) = guide_of(kind, seed % 7), rays(30, seed)
    march = March(step, threshold, 1e-3, most, t_min=0.3, t_max=2.5)
    samples = cpu_rays.march_samples(guide, rays_o, rays_d, march)
    assert (samples.offsets.diff() <= most).all()
    ray = samples.ray_index.long()
    o, d, start = rays_o[ray].double(), rays_d[ray].double(), samples.t_starts.double()
    near, far = intersect_aabb(o, d, BOX)
    needed = cpu_rays.march_samples(guide, rays_o, rays_d, replace(march, max_samples=1000)).offsets.diff()
    step = step * (needed.double() / most).clamp(min=1)[ray]
    number = (start - near.clamp(min=0.3)) / step
    assert (number - number.round()).abs().max() < 1e-4 if len(ray) else True
    assert torch.allclose(samples.t_ends.double(), torch.minimum(start + step, far.clamp(max=2.5)), atol=1e-5)
    assert (start[1:] > start[:-1])[ray[1:] == ray[:-1]].all()
    middle = start[:, None] + step[:, None] / 2
    assert (allowed_near(doubled(guide), o, d, middle, 1e-5) > threshold).all()


def test_density_updates_are_the_twins():
    generator = torch.Generator().manual_seed(8)
    grid = cloudy_grid(9, (3, 4, 5))
    twins = DensityGrid(grid.lo.double(), grid.hi.double(), grid.values.double())
    closed = grid.values < 0
    for n in (0, 1, 50, 4000):
        x = torch.rand(n, 3, generator=generator) * 3 - 1
        sigma = torch.rand(n, generator=generator) * 60
        cpu_rays.update_density(grid, x, sigma, 40.0)
        torch_rays.update_density(twins, x.double(), sigma.double(), 40.0)
        assert torch.allclose(grid.values.double(), twins.values, rtol=1e-5, atol=0)
    assert torch.equal(grid.values < 0, closed)
    assert (grid.values[~closed] > 5).float().mean() > 0.8


CAMERAS = (
    Camera("SIMPLE_PINHOLE", 64, 48, (70.0, 31.0, 25.0)),
    Camera("PINHOLE", 64, 48, (70.0, 65.0, 31.0, 25.0)),
    Camera("SIMPLE_RADIAL", 64, 48, (60.0, 32.0, 24.0, -0.08)),
    Camera("RADIAL", 64, 48, (60.0, 32.0, 24.0, -0.1, 0.03)),
    Camera("OPENCV", 64, 48, (60.0, 61.0, 32.5, 23.0, -0.1, 0.03, 2e-3, -1e-3)),
)


def test_camera_rays_are_those_of_geometry(kernel_variant):
    generator = torch.Generator().manual_seed(10)
    eyes = torch.randn(7, 3, generator=generator) + torch.tensor([0.0, 0.0, 3.0])
    poses = torch.stack(
        [torch.from_numpy(look_at(tuple(eye.tolist()), (0.1, 0.2, 0.0))) for eye in eyes]
    ).float()
    camera_of = torch.tensor([4, 0, 1, 2, 3, 4, 2], dtype=torch.int32)
    pose = torch.randint(7, (3000,), generator=generator, dtype=torch.int32)
    xy = torch.rand(3000, 2, generator=generator) * torch.tensor([64.0, 48.0])
    rays_o, rays_d = cpu_rays.camera_rays(CAMERAS, camera_of, poses, pose, xy)
    assert torch.equal(rays_o, poses[pose.long(), :, 3])
    for i, number in enumerate(camera_of.tolist()):
        mine = pose == i
        _, expected = rays_from_pixels(CAMERAS[number], poses[i].double(), xy[mine].double())
        assert (rays_d[mine] - expected).abs().max() < 1e-6
    assert rays_d.norm(dim=1).tolist() == pytest.approx([1.0] * 3000, abs=1e-6)


@pytest.mark.parametrize("model", sorted(PARAMETER_NAMES))
def test_rays_of_every_lens_are_those_of_geometry(kernel_variant, lens_cameras, model):
    """Within a thousandth of a pixel, in the whole picture."""
    camera, identity = lens_cameras[model], torch.eye(4)[None, :3].contiguous()
    generator = torch.Generator().manual_seed(11)
    size = torch.tensor([4000.0, 3000.0])
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    xy = torch.cat((torch.rand(4000, 2, generator=generator), corners)) * size
    one = torch.zeros(1, dtype=torch.int32)
    _, rays_d = cpu_rays.camera_rays([camera], one, identity, one.expand(len(xy)), xy)
    expected = pixel_directions(camera, xy.double())
    assert (rays_d - expected).norm(dim=1).max() * max(camera.fx, camera.fy) < 1e-3
    assert rays_d.norm(dim=1).tolist() == pytest.approx([1.0] * len(xy), abs=1e-6)


def test_rays_where_the_lens_has_no_picture_are_finite(lens_cameras):
    xy = (torch.rand(3000, 2, generator=torch.Generator().manual_seed(12)) - 0.5) * 1e5
    one, identity = torch.zeros(1, dtype=torch.int32), torch.eye(4)[None, :3].contiguous()
    for camera in lens_cameras.values():
        _, rays_d = cpu_rays.camera_rays([camera], one, identity, one.expand(len(xy)), xy)
        seen = seen_positions(camera, xy.double())
        assert torch.isfinite(rays_d).all()
        # Far outside of a picture only angles are asked for, not its pixels.
        apart = (rays_d - pixel_directions(camera, xy.double())).norm(dim=1)
        assert (apart[seen] < 1e-3).float().mean() > 0.995 if seen.any() else True


@pytest.mark.parametrize(
    ("model", "lens"),
    [
        ("RADIAL", (-0.42, 0.06)),  # folds back inside the picture
        ("FULL_OPENCV", (-0.3, 0.1, 2e-3, 1e-3, 0.0, 0.5, -0.2, 0.02)),  # Newton's method alone fails
        ("FULL_OPENCV", (0.0, 0.25, 0.0, 0.0, -0.25, 0.0, -0.2346, 0.0)),  # or goes round in circles
    ],
)
def test_rays_of_lenses_that_bend_hard(model, lens):
    focal = (150.0, 150.0) if model == "FULL_OPENCV" else (150.0,)
    camera = Camera(model, 640, 480, (*focal, 300.0, 220.0, *lens))
    size = torch.tensor([640.0, 480.0])
    xy = torch.rand(20000, 2, generator=torch.Generator().manual_seed(13)) * size
    xy = xy[seen_positions(camera, xy.double())]
    one, identity = torch.zeros(1, dtype=torch.int32), torch.eye(4)[None, :3].contiguous()
    _, rays_d = cpu_rays.camera_rays([camera], one, identity, one.expand(len(xy)), xy)
    back, seen = project(camera, rays_d.double())
    assert seen.float().mean() > 0.999
    assert ((back - xy).norm(dim=1)[seen] < 1e-3).all()


def test_a_camera_ray_by_hand():
    camera, identity = Camera("PINHOLE", 8, 6, (4.0, 2.0, 4.0, 3.0)), torch.eye(4)[None, :3]
    one = torch.zeros(1, dtype=torch.int32)
    rays_o, rays_d = cpu_rays.camera_rays([camera], one, identity, one, torch.tensor([[8.0, 1.0]]))
    assert rays_o.tolist() == [[0, 0, 0]]
    # One to the right and one up for each unit forward, which is -z.
    assert rays_d[0].tolist() == pytest.approx([1 / math.sqrt(3), 1 / math.sqrt(3), -1 / math.sqrt(3)])


def test_no_pixels_have_no_rays():
    none = torch.zeros(0, dtype=torch.int32)
    rays_o, rays_d = cpu_rays.camera_rays(CAMERAS, none, torch.zeros(0, 3, 4), none, torch.zeros(0, 2))
    assert rays_o.shape == rays_d.shape == (0, 3)

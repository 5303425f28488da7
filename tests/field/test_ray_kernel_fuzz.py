"""As `test_kernel_fuzz`, for what happens along rays: wrong is refused, mad comes out mad, nothing hangs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.errors import BackendError
from anerf.geometry.boxes import Aabb, intersect_aabb
from anerf.geometry.cameras import Camera
from anerf.render import cpu_rays
from anerf.render.density_grid import DensityGrid
from anerf.render.expert import march_jitter
from anerf.render.guide import Guide
from anerf.render.samples import March, Samples, Sampling

NAN, INF = float("nan"), float("inf")
JUNK = (NAN, INF, -INF, 0.0, -0.0, 1e-40, -1e-40, 1.0, 0.5, 1e9, -1e9, 2.0**31, -(2.0**31), 1e19, 3e38, -3e38)
SEEDS = st.integers(0, 2**31)
LIMITS = st.sampled_from([0.0, -1.0, -INF, INF, NAN, 0.7, 1e-40, 3e38, 1e300])
BOX = Aabb((-1.0, -1.0, 0.0), (1.0, 1.0, 1.0))


def junk(generator: torch.Generator, *shape: int, share: float = 0.3) -> torch.Tensor:
    """Random numbers, a share of which no sane caller would send."""
    values = torch.randn(shape, generator=generator)
    wild = torch.tensor(JUNK)[torch.randint(len(JUNK), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < share, wild, values)


def grid_of(values: torch.Tensor) -> DensityGrid:
    return DensityGrid(torch.tensor(BOX.lo), torch.tensor(BOX.hi), values)


def mad_guide(generator: torch.Generator, n_grids: int) -> Guide:
    """Grids full of junk, one of them over no space at all."""
    grids = [grid_of(junk(generator, 2, 3, 4)) for _ in range(n_grids)]
    grids[-1] = replace(grids[-1], hi=grids[-1].lo)
    return Guide(BOX, tuple(grids), junk(generator, n_grids, 3), 3, only=n_grids % 3 or None)


def haze(value: float = 1.0) -> Guide:
    return Guide.of_expert(BOX, grid_of(torch.full((2, 2, 2), value)))


def mad_rays(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return junk(generator, n, 3, share=0.15), junk(generator, n, 3, share=0.15)


def assert_sane(samples: Samples, rays_o: torch.Tensor, rays_d: torch.Tensor, lo: float, hi: float) -> None:
    """Whatever came in: offsets rise, intervals are ordered, and rays that mean something keep to the box."""
    assert samples.offsets[0] == 0
    assert (samples.offsets.diff() >= 0).all()
    assert len(samples.x) == len(samples.t_starts) == len(samples.t_ends) == samples.offsets[-1]
    assert (samples.t_ends >= samples.t_starts).all()
    # Not in float64, where a direction's 1e-40 is no 0.
    near, far = (t.double() for t in intersect_aabb(rays_o, rays_d, BOX))
    ray = samples.ray_index.long()
    start, end = samples.t_starts.double(), samples.t_ends.double()
    reach = 1e-4 * (1 + far[ray].abs())
    assert (start >= near[ray].clamp(min=lo) - reach).all()
    assert (end <= far[ray].clamp(max=hi) + reach).all()


@settings(max_examples=80)
@given(
    SEEDS, st.integers(0, 100), st.integers(1, 4), LIMITS, LIMITS, st.sampled_from([0.3, 0.0, -1.0, NAN, INF])
)
def test_any_rays_are_sampled(seed, n, n_grids, t_min, t_max, floor):
    generator = torch.Generator().manual_seed(seed)
    guide, (rays_o, rays_d) = mad_guide(generator, n_grids), mad_rays(generator, n)
    sampling = Sampling(1 + seed % 9, floor, t_min, t_max, n_coarse=1 + seed % 256)
    jitter, borders = torch.rand(n, generator=generator), junk(generator, n, sampling.n_samples + 1)
    if seed % 2:
        jitter = junk(generator, n)
    samples = cpu_rays.importance_samples(guide, rays_o, rays_d, sampling, jitter, borders)
    assert_sane(samples, rays_o, rays_d, t_min, t_max)


@settings(max_examples=80)
@given(
    SEEDS,
    st.integers(0, 60),
    st.integers(1, 4),
    LIMITS,
    LIMITS,
    st.sampled_from([0.01, 0.3, 1e9, 1e300, INF]),
)
def test_any_rays_are_marched(seed, n, n_grids, t_min, t_max, step):
    generator = torch.Generator().manual_seed(seed)
    guide, (rays_o, rays_d) = mad_guide(generator, n_grids), mad_rays(generator, n)
    threshold = (0.5, -5.0, NAN, INF, -INF)[seed % 5]
    march = March(step, threshold, 1e-3, 1 + seed % 300, t_min, t_max, explore_every=seed % 3)
    shift, first = march_jitter(n, march, generator)
    if seed % 2:
        shift, first = junk(generator, n), torch.randint(-(2**31), 2**31, (n,), generator=generator).int()
    samples = cpu_rays.march_samples(guide, rays_o, rays_d, march, shift, first)
    assert_sane(samples, rays_o, rays_d, t_min, t_max)


@pytest.mark.timeout(120)
def test_directions_of_almost_no_length_do_not_march_for_ever():
    """Their ray is 1e30 of its lengths long; in empty space nothing else ends the march."""
    rays_o, rays_d = (
        torch.tensor([[0.1, 0.2, 0.5]]).expand(1000, 3),
        torch.tensor([[0.0, 0.0, -1e-30]]).expand(1000, 3),
    )
    samples = cpu_rays.march_samples(haze(0.0), rays_o, rays_d, March(1e-3, 0.5))
    assert len(samples.x) == 0
    with pytest.raises(BackendError, match=r"step of 1e-06 is too short .* at most 65536 steps"):
        cpu_rays.march_samples(haze(0.0), rays_o, rays_d, March(1e-6, 0.5))


def test_rays_along_faces_and_from_corners():
    """Zeros in directions and origins on the box: they hit or miss, but are never lost in 0 x infinity."""
    corners = torch.tensor(
        [[x, y, z] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0) for z in (0.0, 1.0)]
    )
    ways = torch.tensor(
        [[x, y, z] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0) for z in (-1.0, 0.0, 1.0)]
    )
    rays_o, rays_d = corners.repeat_interleave(len(ways), 0), ways.repeat(len(corners), 1)
    near, far = intersect_aabb(rays_o, rays_d, BOX)
    n = len(rays_o)
    half = torch.full((n,), 0.5)
    drawn = cpu_rays.importance_samples(
        haze(), rays_o, rays_d, Sampling(4, 0.3), half, half[:, None].expand(n, 5)
    )
    marched = cpu_rays.march_samples(haze(), rays_o, rays_d, March(0.1, 0.5))
    meant = (far > near) & rays_d.any(1)  # no direction, no ray: the kernels draw nothing
    for samples in (drawn, marched):
        assert torch.equal(samples.offsets.diff() > 0, meant)
        assert_sane(samples, rays_o, rays_d, 0.0, INF)


@settings(max_examples=60)
@given(SEEDS, st.lists(st.integers(0, 70), max_size=12))
def test_any_numbers_are_blended(seed, counts):
    generator = torch.Generator().manual_seed(seed)
    n, r = sum(counts), len(counts)
    share = (0.3, 0.01, 0.0)[seed % 3]
    t = junk(generator, 2, n, share=share)
    offsets = torch.tensor([0, *counts]).cumsum(0).int()
    samples = Samples(torch.zeros(n, 3), t[0], t[1], torch.zeros(n).int(), offsets)
    rgb, sigma = junk(generator, n, 3, share=share), junk(generator, n, share=share)
    background = junk(generator, r, 3, share=share)
    inputs = [tensor.requires_grad_() for tensor in (rgb, sigma, background)]
    seen = cpu_rays.composite(*inputs[:2], samples, inputs[2])
    outputs = (seen.rgb, seen.depth, seen.opacity, seen.weights)
    torch.autograd.backward(outputs, [junk(generator, *out.shape) for out in outputs])
    for i, count in enumerate(counts):
        part = slice(sum(counts[:i]), sum(counts[:i]) + count)
        if (sigma[part] * (t[1] - t[0])[part]).isnan().any():
            assert seen.rgb[i].isnan().all()
            assert seen.opacity[i].isnan()


def samples_with(offsets: list[int] | torch.Tensor, n: int = 4) -> Samples:
    given_offsets = torch.tensor(offsets, dtype=torch.int32) if isinstance(offsets, list) else offsets
    t = torch.arange(n + 1.0)
    return Samples(torch.zeros(n, 3), t[:-1], t[1:], torch.zeros(n).int(), given_offsets)


@pytest.mark.parametrize(
    "offsets", [[0, 3, 1, 4], [1, 2, 3, 4], [0, 1, 2, 5], [0, 1, 2, 3], [0, -1, 2, 4], [0, 9, 2, 4]]
)
def test_offsets_that_do_not_rise_to_the_number_of_samples_are_refused(offsets):
    with pytest.raises(BackendError, match="3 rays must rise from 0 to the 4 samples"):
        cpu_rays.composite(torch.rand(4, 3), torch.rand(4), samples_with(offsets), torch.rand(3, 3))


def test_wrong_tensors_are_not_blended():
    samples = samples_with([0, 1, 2, 4])
    good = {
        "rgb": torch.rand(4, 3),
        "sigma": torch.rand(4),
        "samples": samples,
        "background": torch.rand(3, 3),
    }
    for name, wrong, words in (
        ("rgb", torch.rand(4, 3).half(), r"rgb is torch\.float16"),
        ("rgb", torch.rand(3, 3), "rgb has shape"),
        ("sigma", torch.rand(4, 1), "sigma has shape"),
        ("background", torch.rand(2, 3), "background has shape"),
        ("background", torch.rand(3, 3, device="meta"), "background is on meta"),
        ("samples", samples_with(torch.tensor([0, 1, 2, 4])), r"offsets is torch\.int64"),
        ("samples", samples_with([]), "background has shape"),
        ("samples", replace(samples, t_ends=torch.rand(5)), "t_ends has shape"),
    ):
        with pytest.raises(BackendError, match=words):
            cpu_rays.composite(**(good | {name: wrong}))
    rgb = torch.rand(4, 3, requires_grad=True)
    with pytest.raises(BackendError, match="no second derivative"):
        torch.autograd.grad(cpu_rays.composite(**(good | {"rgb": rgb})).rgb.sum(), rgb, create_graph=True)


def test_tensors_along_rays_need_not_be_contiguous():
    generator = torch.Generator().manual_seed(1)
    rays_o, rays_d = torch.randn(2, 40, 3, generator=generator)
    jitter, borders = torch.rand(40, generator=generator), torch.rand(40, 6, generator=generator)

    def strided(tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack([tensor] * 2, -1)[..., 1]

    drawn = [
        cpu_rays.importance_samples(
            haze(), change(rays_o), change(rays_d), Sampling(5, 0.3), change(jitter), change(borders)
        )
        for change in (torch.clone, strided)
    ]
    assert len(drawn[0].x) > 50
    assert all(torch.equal(getattr(drawn[0], name), getattr(drawn[1], name)) for name in vars(drawn[0]))
    rgb, sigma, background = torch.rand(len(drawn[0].x), 3), torch.rand(len(drawn[0].x)), torch.rand(40, 3)
    seen = [
        cpu_rays.composite(change(rgb), change(sigma), drawn[0], change(background))
        for change in (torch.clone, strided)
    ]
    assert torch.equal(seen[0].rgb, seen[1].rgb)


RAY = (torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))


@pytest.mark.parametrize("spoiled", [slice(0, 1), slice(2, 3), slice(None)])
def test_borders_that_are_no_numbers_stay_on_the_ray(spoiled):
    borders = torch.full((1, 5), 0.5)
    borders[0, spoiled] = NAN
    samples = cpu_rays.importance_samples(haze(), *RAY, Sampling(4, 0.3), torch.full((1,), 0.5), borders)
    assert samples.t_starts.min() >= 1
    assert samples.t_ends.max() <= 2


def test_impossible_samplings_are_refused():
    half = torch.full((1, 5), 0.5)
    for sampling in (
        Sampling(4, 0.3, n_coarse=257),
        Sampling(4, 0.3, n_coarse=0),
        Sampling(0, 0.3),
        Sampling(-4, 0.3),
    ):
        with pytest.raises(BackendError, match="cannot be drawn"):
            cpu_rays.importance_samples(haze(), *RAY, sampling, half[:, 0], half)
    for wrong in (half[:, :4], half[0], half.double()):
        with pytest.raises(BackendError, match="border_jitter"):
            cpu_rays.importance_samples(haze(), *RAY, Sampling(4, 0.3), half[:, 0], wrong)
    for march in (
        March(0.0, 1),
        March(-1.0, 1),
        March(NAN, 1),
        March(0.1, 1, 0.0),
        March(0.1, 1, 1.0),
        March(0.1, 1, NAN),
        March(0.1, 1, max_samples=0),
        March(0.1, 1, explore_every=-1),
    ):
        with pytest.raises(BackendError, match="cannot be marched"):
            cpu_rays.march_samples(haze(), *RAY, march)
    many = [ray.expand(3, 3) for ray in RAY]
    with pytest.raises(BackendError, match="more than 2147483647 at once"):
        cpu_rays.march_samples(haze(), *many, March(0.1, 1, max_samples=2**30))
    with pytest.raises(BackendError, match="more than 2147483647 at once"):
        cpu_rays.importance_samples(haze(), *many, Sampling(2**30, 0.3), half[:, 0].expand(3), half)
    for name, wrong in (("rays_o", (RAY[0].double(), RAY[1])), ("rays_d", (RAY[0], RAY[1][:, :2]))):
        with pytest.raises(BackendError, match=name):
            cpu_rays.march_samples(haze(), *wrong, March(0.1, 1))


def test_impossible_guides_are_refused():
    grid = haze().grids[0]
    two = torch.zeros(2, 3)
    for guide, words in (
        (Guide(BOX, (), torch.zeros(0, 3)), "without a density grid"),
        (Guide(BOX, (grid,), two), "centroids has shape"),
        (Guide(BOX, (grid, grid), two, 4), "2 or 3 dimensions, not 4"),
        (Guide(BOX, (grid, grid), two.double()), r"centroids is torch\.float64"),
        (Guide.of_expert(BOX, replace(grid, values=grid.values.double())), "does not suit the cpu backend"),
        (
            Guide.of_expert(BOX, replace(grid, values=torch.zeros(2, 2, 4)[..., ::2])),
            "contiguous and have 1 to",
        ),
        (Guide.of_expert(BOX, replace(grid, values=torch.zeros(2, 0, 4))), "contiguous and have 1 to"),
    ):
        with pytest.raises(BackendError, match=words):
            cpu_rays.march_samples(guide, *RAY, March(0.1, 0.5))
    nobody = Guide(BOX, (grid, grid), torch.tensor([[0.0, 0, 0], [1, 0, 0]]), 3, only=7)
    assert len(cpu_rays.march_samples(nobody, *RAY, March(0.1, 0.5)).x) == 0


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 200), st.sampled_from([40.0, 0.0, INF, NAN, -1.0]))
def test_any_samples_update_the_density(seed, n, sigma_max):
    generator = torch.Generator().manual_seed(seed)
    grid = grid_of(junk(generator, 2, 3, 4))
    closed, before = ~(grid.values >= 0), grid.values.clone()
    cpu_rays.update_density(grid, junk(generator, n, 3), junk(generator, n), sigma_max)
    assert torch.equal(grid.values[closed].nan_to_num(), before[closed].nan_to_num())


def test_a_density_that_is_no_number_counts_as_the_highest():
    """It must not close its cell for ever."""
    grid = haze(2.0).grids[0]
    cpu_rays.update_density(grid, torch.tensor([[-0.5, -0.5, 0.2]]), torch.tensor([NAN]), 42.0)
    assert grid.values.flatten().tolist() == pytest.approx([2.0 + 0.05 * 40.0] + [2.0] * 7)


def test_wrong_updates_are_refused():
    grid = haze().grids[0]
    with pytest.raises(BackendError, match="x has shape"):
        cpu_rays.update_density(grid, torch.rand(5, 3), torch.rand(4), 1.0)
    with pytest.raises(BackendError, match=r"sigma is torch\.float64"):
        cpu_rays.update_density(grid, torch.rand(4, 3), torch.rand(4).double(), 1.0)
    with pytest.raises(BackendError, match="contiguous"):
        cpu_rays.update_density(
            replace(grid, values=torch.zeros(2, 2, 4)[..., ::2]), torch.rand(4, 3), torch.rand(4), 1.0
        )


LENSES = (
    Camera("PINHOLE", 8, 8, (4.0, 4.0, 4.0, 4.0)),
    Camera("OPENCV", 8, 8, (4.0, 4.0, 4.0, 4.0, -9.0, 1e9, 1e3, -1e3)),
    Camera("FULL_OPENCV", 8, 8, (4.0, 4.0, 4.0, 4.0, -9.0, 1e9, 1e3, -1e3, 1e300, -1e9, 1e-310, 3.0)),
    Camera("OPENCV_FISHEYE", 8, 8, (4.0, 4.0, 4.0, 4.0, -9.0, 1e9, 1e30, -1e300)),
    Camera("THIN_PRISM_FISHEYE", 8, 8, (4.0, 4.0, 4.0, 4.0, -9.0, 1e9, 1e3, -1e3, 1e30, 0.1, 1e5, 1e39)),
    Camera("RAD_TAN_THIN_PRISM_FISHEYE", 8, 8, (*(4.0,) * 4, *(-9.0, 1e9) * 6)),
    Camera("FOV", 8, 8, (4.0, 4.0, 4.0, 4.0, -3.14)),
    Camera("DIVISION", 8, 8, (4.0, 4.0, 4.0, 4.0, -1e30)),
    Camera("EUCM", 8, 8, (4.0, 4.0, 4.0, 4.0, 1.0, 1e30)),
    Camera("EQUIRECTANGULAR", 8, 8, (1e-30, 1e30)),
)


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 60))
def test_any_pixels_have_rays(seed, n):
    generator = torch.Generator().manual_seed(seed)
    camera_of = torch.randint(len(LENSES), (3,), generator=generator).int()
    pose = torch.randint(3, (n,), generator=generator).int()
    poses, xy = junk(generator, 3, 3, 4), junk(generator, n, 2)
    rays_o, rays_d = cpu_rays.camera_rays(LENSES, camera_of, poses, pose, xy)
    assert rays_o.shape == rays_d.shape == (n, 3)
    assert torch.equal(rays_o.nan_to_num(), poses[pose.long(), :, 3].nan_to_num())


def test_wrong_pixels_are_refused():
    one, poses, xy = torch.zeros(1).int(), torch.eye(4)[None, :3].contiguous(), torch.rand(1, 2)
    for arguments, words in (
        (((), one, poses, one, xy), "camera_of reaches from 0 to 0 where 0 to -1"),
        ((LENSES, one + len(LENSES), poses, one, xy), "camera_of reaches"),
        ((LENSES, one, poses, one - 1, xy), "pose reaches from -1"),
        ((LENSES, one, poses, one + 1, xy), "pose reaches from 1"),
        ((LENSES, one, poses[:, :, :3], one, xy), "c2w has shape"),
        ((LENSES, one, poses.double(), one, xy), r"c2w is torch\.float64"),
        ((LENSES, one, poses, one, xy.half()), r"xy is torch\.float16"),
        ((LENSES, one.long(), poses, one, xy), r"camera_of is torch\.int64"),
    ):
        with pytest.raises(BackendError, match=words):
            cpu_rays.camera_rays(*arguments)

"""The made city's tracer: shapes by hand, whole views against every solid tried on every ray."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.geometry.cameras import Camera, pixel_directions
from anerf.geometry.rays import look_at
from anerf.scene.made.city import make_city
from anerf.scene.made.event import strike
from anerf.scene.made.noise import fbm
from anerf.scene.made.shapes import (
    Material,
    Skin,
    Solid,
    SolidTable,
    block,
    contacts,
    ellipsoid,
    enter_blocks,
    enter_ellipsoids,
    rotation,
    solid_table,
)
from anerf.scene.made.strokes import Cover, Stroke, paint
from anerf.scene.made.terrain import Hollow, Terrain
from anerf.scene.made.tracer import orthographic, perspective, trace_rays, trace_view
from anerf.scene.made.truth import trace_depth

GREY = Skin(Material.PLAIN, (0.5, 0.5, 0.5))
FLAT = Terrain()


def first_t(
    solids: list[Solid], o: tuple[float, ...], d: tuple[float, ...], terrain: Terrain = FLAT
) -> float:
    rays_o, rays_d = torch.tensor([o], dtype=torch.float32), torch.tensor([d], dtype=torch.float32)
    return float(trace_rays(rays_o, rays_d, solid_table(solids), terrain).t[0])


def every_solid_on_every_ray(rays_o: torch.Tensor, rays_d: torch.Tensor, table: SolidTable) -> torch.Tensor:
    """The nearest solid hit without any culling, in float64."""
    best = torch.full((len(rays_o),), math.inf, dtype=torch.float64)
    for row in range(len(table)):
        unit = table.to_unit[row].double()
        ox, oy, oz = ((rays_o.double() - table.center[row].double()) @ unit.T).unbind(-1)
        dx, dy, dz = (rays_d.double() @ unit.T).unbind(-1)
        if table.is_block[row]:
            lean_x, lean_y = table.taper[row].double()
            t = enter_blocks((ox, oy, oz), (dx, dy, dz), (lean_x, lean_y))
        else:
            t = enter_ellipsoids((ox, oy, oz), (dx, dy, dz))
        best = torch.minimum(best, t)
    return best


def test_box_from_above_and_from_the_side() -> None:
    box = block((0, 0, 5), (2, 3, 5), GREY)
    assert first_t([box], (1, 1, 50), (0, 0, -1)) == pytest.approx(40)
    assert first_t([box], (-10, 0, 5), (1, 0, 0)) == pytest.approx(8)
    assert first_t([box], (0, -10, 5), (0, 1, 0)) == pytest.approx(7)
    assert first_t([box], (2.5, 0, 50), (0, 0, -1)) == pytest.approx(50)  # beside it: the ground


def test_turned_box() -> None:
    box = block((0, 0, 0), (1, 1, 1), GREY, yaw_deg=45)
    assert first_t([box], (-10, 0, 0.5), (1, 0, 0)) == pytest.approx(10 - math.sqrt(2), abs=1e-5)


def test_gable_roof_slopes_to_its_ridge() -> None:
    # Half 4 m wide, 6 m tall, ridge along x: 1 m off the ridge the roof has fallen by 1.5 m.
    roof = block((0, 0, 3), (5, 4, 3), GREY, taper=(0, 1))
    assert first_t([roof], (0, 0, 20), (0, 0, -1)) == pytest.approx(14, abs=1e-4)
    assert first_t([roof], (0, 1, 20), (0, 0, -1)) == pytest.approx(15.5, abs=1e-4)
    assert first_t([roof], (0, -3, 20), (0, 0, -1)) == pytest.approx(18.5, abs=1e-4)


def test_ellipsoid_by_hand() -> None:
    ball = ellipsoid((0, 0, 10), (2, 4, 6), GREY)
    assert first_t([ball], (0, 0, 30), (0, 0, -1)) == pytest.approx(14)
    assert first_t([ball], (-20, 0, 10), (1, 0, 0)) == pytest.approx(18)
    assert first_t([ball], (-20, 2, 10), (1, 0, 0)) == pytest.approx(20 - math.sqrt(3), abs=1e-5)
    assert first_t([ball], (-20, 4.1, 10), (1, 0, 0)) == math.inf


def test_solids_in_front_hide_those_behind_and_start_inside_sees_nothing_of_them() -> None:
    near, far = block((0, 0, 20), (1, 1, 1), GREY), block((0, 0, 5), (2, 2, 1), GREY)
    assert first_t([far, near], (0, 0, 40), (0, 0, -1)) == pytest.approx(19)
    assert first_t([far, near], (0, 0, 20), (0, 0, -1)) == pytest.approx(14)


def test_hollow_and_water() -> None:
    dip = Terrain((Hollow(0, 0, 2, (10, 10)),))
    assert dip.height(0, 0) == pytest.approx(-2)
    assert dip.height(10, 0) == pytest.approx(-2 * math.exp(-0.5))
    down = torch.tensor([[0.0, 0, -1]])
    assert dip.intersect(torch.tensor([[0.0, 0, 60]]), down)[0].item() == pytest.approx(62)
    flooded = Terrain(dip.hollows, water_m=-0.5)
    t, wet = flooded.intersect(torch.tensor([[0.0, 0, 60], [30.0, 0, 60]]), down.expand(2, 3))
    assert t.tolist() == pytest.approx([60.5, 60 + 2 * math.exp(-4.5)], abs=1e-4)
    assert wet.tolist() == [True, False]


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.6, 1.5))
@settings(deadline=None, max_examples=40)
def test_slanted_rays_end_on_the_hollow(x: float, y: float, steepness: float) -> None:
    dip = Terrain((Hollow(3, -2, 1.5, (10, 8)), Hollow(-6, 4, 0.5, (7, 7))))
    o, d = torch.tensor([[x, y, 60.0]]), torch.tensor([[0.8, -0.6, -steepness]])
    t, _ = dip.intersect(o, d)
    px, py, pz = (o + t[:, None] * d)[0].tolist()
    assert pz == pytest.approx(dip.height(px, py), abs=1e-3)


def test_rotation_is_yaw_after_pitch_after_roll() -> None:
    assert rotation((90, 0, 0)) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert rotation((0, 90, 0)) @ [1, 0, 0] == pytest.approx([0, 0, -1])
    assert rotation((90, 0, 90)) @ [0, 1, 0] == pytest.approx([0, 0, 1])


def test_contacts_name_face_and_normal() -> None:
    table = solid_table(
        [block((0, 0, 3), (5, 4, 3), GREY, taper=(0, 1)), ellipsoid((0, 0, 0), (2, 2, 2), GREY)]
    )
    points = torch.tensor([[5.0, 0, 1], [0.0, 2, 3], [0.0, 0, 2]])
    touch = contacts(table, torch.tensor([0, 0, 1]), points)
    assert touch.face.tolist() == [0, 2, 4]
    slope = np.array([0, 3 * 2, 4]) / math.hypot(6, 4)
    assert touch.normal[0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert touch.normal[1].tolist() == pytest.approx(slope.tolist(), abs=1e-5)
    assert touch.normal[2].tolist() == pytest.approx([0, 0, 1], abs=1e-6)


def random_solids(rng: np.random.Generator, n: int) -> list[Solid]:
    solids = []
    for index in range(n):
        x, y, z = rng.uniform(-25, 25, 3).tolist()
        a, b, c = rng.uniform(0.3, 5, 3).tolist()
        if index % 2:
            solids.append(ellipsoid((x, y, abs(z)), (a, b, c), GREY, yaw_deg=float(rng.uniform(0, 180))))
        else:
            yaw, pitch, roll = rng.uniform(-90, 90, 3).tolist()
            lean = (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)))
            solids.append(
                block(
                    (x, y, abs(z)), (a, b, c), GREY, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, taper=lean
                )
            )
    return solids


@pytest.mark.parametrize("seed", range(4))
def test_view_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = solid_table(random_solids(rng, 60))
    # Some solids lie beside and behind the camera, which stands among them.
    pose = torch.from_numpy(look_at((float(rng.uniform(-15, 15)), -12.0, 14.0), (0.0, 5.0, 3.0)))
    view = perspective(64, 48, (50.0, 50.0, 32.0, 24.0), pose)
    rays_o, rays_d = view.rays()
    expected = every_solid_on_every_ray(rays_o, rays_d, table)
    found = trace_view(view, table, Terrain((Hollow(0, 0, 1000, (1e6, 1e6)),))).t.double()
    on_solid = torch.isfinite(expected)
    assert on_solid.float().mean() > 0.2
    # A ray that grazes an edge may fall either way in float32.
    agree = (found - expected).abs()[on_solid] < 2e-3 * expected[on_solid]
    assert agree.float().mean() > 0.999
    assert (found[~on_solid] < 900).float().mean() < 0.002


def test_orthographic_view_agrees_with_single_rays() -> None:
    rng = np.random.default_rng(9)
    table = solid_table(random_solids(rng, 40))
    axes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]])
    view = orthographic(60, 60, 1.0, torch.tensor([-30.0, -30.0, 50.0]), axes)
    rays_o, rays_d = view.rays()
    assert rays_o[61].tolist() == pytest.approx([-28.5, -28.5, 50])
    together, alone = trace_view(view, table, FLAT).t, trace_rays(rays_o, rays_d, table, FLAT).t
    assert ((together - alone).abs() < 1e-3).float().mean() > 0.999


def test_perspective_rays_are_those_of_the_camera() -> None:
    camera = Camera("PINHOLE", 40, 30, (35.0, 36.0, 19.0, 16.0))
    pose = torch.from_numpy(look_at((3.0, -20.0, 60.0), (1.0, 2.0, 0.0)))
    view = perspective(40, 30, (35.0, 36.0, 19.0, 16.0), pose)
    rays_o, rays_d = view.rays()
    pixel = torch.tensor([[7.5, 21.5]], dtype=torch.float64)
    expected = pixel_directions(camera, pixel)[0] @ pose[:, :3].T
    row = 21 * 40 + 7
    found = torch.nn.functional.normalize(rays_d[row], dim=0)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert rays_o[row].tolist() == pytest.approx([3, -20, 60])
    on_image = view.to_image @ torch.cat((pose[:, 3] + 17.0 * expected, torch.ones(1, dtype=torch.float64)))
    assert (on_image[:2] / on_image[2]).tolist() == pytest.approx([7.5, 21.5])


def test_trace_depth_sees_the_event_only_after_it() -> None:
    _, event = strike(make_city(7))
    flood = next(footprint for footprint in event.footprints if footprint.what == "flooded area")
    x, y = flood.middle
    rays_o, rays_d = (
        torch.tensor([[x, y, 80.0], [0.0, 200.0, 80.0]]),
        torch.tensor([[0.0, 0, -1]]).expand(2, 3),
    )
    before = trace_depth(7, "tiny", "before", rays_o, rays_d)
    after = trace_depth(7, "tiny", "after", rays_o, rays_d)
    assert before[1] == after[1] == 80
    assert after[0] < before[0]


def test_fine_noise_fades_with_the_footprint() -> None:
    u = torch.linspace(0, 100, 4001)
    sharp, blurred = (fbm(u, 0.3 * u, (0.5,), torch.full_like(u, width)) for width in (0.05, 0.6))
    assert sharp.std() > 0.2
    assert blurred.abs().max() == 0


def test_canvas_shows_strokes_where_they_lie_and_averages_them() -> None:
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    strokes = (
        Stroke(Cover.PLAIN, 0, 0, 40, 40, black),
        Stroke(Cover.PLAIN, 5, 0, 2, 2, white),
    )
    canvas = paint(strokes, 16, 0.25)
    x, y = torch.tensor([5.0, -5.0, 8.0]), torch.zeros(3)
    fine = canvas.colour(x, y, torch.full((3,), 0.1))
    assert fine[0].min() > 0.9
    assert fine[1:].max() < 0.01
    edge = canvas.colour(torch.tensor([7.0]), torch.zeros(1), torch.tensor([1.5]))
    assert 0.3 < edge[0, 0] < 0.7

"""How the faces of solids look: windows, bricks, tiles, leaves, as functions of the place on the face."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anerf.scene.made.houses import SINK_M, STOREY_M
from anerf.scene.made.noise import cell_hash, fbm, seen, value_noise
from anerf.scene.made.shapes import Contacts, Material, SolidTable


@dataclass(frozen=True)
class Spots:
    """Places on faces of one material.

    `u_m` runs level along the face from its middle, `v_m` up walls from their foot, down roofs from the
    ridge, across tops from the middle; `half_m` is half the face's length along u.
    """

    u_m: Float[Tensor, " n"]
    v_m: Float[Tensor, " n"]
    half_m: Float[Tensor, " n"]
    height_m: Float[Tensor, " n"]
    face: Int[Tensor, " n"]
    world_m: Float[Tensor, "n 3"]
    normal: Float[Tensor, "n 3"]
    albedo: Float[Tensor, "n 3"]
    seed: Float[Tensor, " n"]
    footprint_m: Float[Tensor, " n"]

    def grain(self, *cells_m: float) -> Tensor:
        """Noise along the face."""
        return fbm(self.u_m + 7.3 * self.seed, self.v_m + 3.1 * self.face, cells_m, self.footprint_m)

    def inside(self, distance_m: Tensor) -> Tensor:
        """Share of the pixel where `distance_m` (positive inside an edge) is positive."""
        return (distance_m / self.footprint_m + 0.5).clamp(0.0, 1.0)


def _mix(base: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    return base + share[:, None] * (other - base)


def _grey(light: Tensor) -> Tensor:
    return light[:, None].expand(-1, 3)


def _plain(spots: Spots) -> Tensor:
    return spots.albedo * _grey(1.0 + 0.10 * spots.grain(2.3, 0.9, 0.4))


def _wall(spots: Spots, brick: bool) -> Tensor:
    streaks = value_noise(spots.u_m / 0.7 + spots.seed, spots.v_m / 5.0) * seen(0.7, spots.footprint_m)
    light = 1.0 + 0.09 * spots.grain(4.0, 1.4, 0.5) + 0.05 * streaks
    wall = spots.albedo * _grey(light)
    if brick:
        course = spots.v_m / 0.08
        stretcher = cell_hash(
            torch.floor(spots.u_m / 0.25 + 0.5 * (torch.floor(course) % 2)), torch.floor(course)
        )
        wall = wall * _grey(1.0 + 0.35 * (stretcher - 0.5) * seen(0.12, spots.footprint_m))
    foot = spots.inside(0.5 - (spots.v_m - SINK_M))
    return _mix(wall, 0.16, 0.75 * foot)


def _facade(spots: Spots, brick: bool = False) -> Tensor:
    """A wall with storeys of windows, doors on the ground floor, and frames around them."""
    wall = _wall(spots, brick)
    up = spots.v_m - SINK_M
    storeys = torch.floor((spots.height_m - SINK_M + 0.3) / STOREY_M).clamp_min(1.0)
    tall = (spots.height_m - SINK_M) / storeys
    bays = torch.floor(2.0 * spots.half_m / 2.7).clamp_min(1.0)
    wide = 2.0 * spots.half_m / bays
    bay = torch.floor((spots.u_m + spots.half_m) / wide).clamp(min=0.0).minimum(bays - 1.0)
    storey = torch.floor(up / tall).clamp(min=0.0).minimum(storeys - 1.0)
    du = spots.u_m + spots.half_m - (bay + 0.5) * wide
    dv = up - storey * tall
    which = torch.floor(spots.seed)
    dice = cell_hash(bay + 31.0 * spots.face, storey, spots.seed)
    style = cell_hash(which, which * 0.0, 3.0)

    ground = storey == 0
    door = ground & (cell_hash(bay, spots.face, spots.seed) < 0.30)
    half_wide = torch.where(door, 0.55, 0.52 + 0.30 * style)
    low = torch.where(door, 0.0, 0.95 - 0.35 * style)
    high = torch.where(door, 2.15, torch.minimum(torch.full_like(tall, 2.35), tall - 0.35))
    blank = (dice < 0.08) & ~door
    fits = torch.where(wide > 1.6, 1.0, 0.0) * torch.where(blank, 0.0, 1.0)

    def opening(rim_m: float) -> Tensor:
        across = spots.inside(half_wide + rim_m - du.abs())
        return across * spots.inside(dv - (low - rim_m)) * spots.inside(high + rim_m - dv) * fits

    frame_rgb = torch.where((style > 0.5)[:, None], 0.62, 0.75 * spots.albedo)
    out = _mix(wall, frame_rgb, opening(0.14))
    curtain = cell_hash(storey + 5.0, bay, spots.seed + 0.37)
    pane = torch.where(curtain > 0.74, 0.24, 0.035 + 0.05 * curtain)
    pane = pane * torch.where(dv > high - 0.3, 0.45, 1.0)  # the lintel's shadow
    glass = torch.stack((pane * 0.85, pane * 0.95, pane * 1.15), dim=1)
    leaf_rgb = torch.stack((0.05 + 0.20 * dice, 0.05 + 0.10 * curtain, 0.04 + 0.08 * style), dim=1)
    inner = torch.where(door[:, None], leaf_rgb, glass)
    mullion = spots.inside(0.05 - du.abs()) * (~door).float() * 0.7
    out = _mix(out, _mix(inner, frame_rgb, mullion), opening(0.0))
    belt = spots.inside(0.10 - dv.abs()) * (storey > 0) * (style > 0.6)
    return _mix(out, 0.55, 0.5 * belt)


def _brick_facade(spots: Spots) -> Tensor:
    return _facade(spots, brick=True)


def _tiles(spots: Spots) -> Tensor:
    """Rows of tiles with weathering down the slope, a ridge cap, now and then panels or a skylight."""
    row = (spots.v_m / 0.36).frac().abs()
    course = (0.5 - row) * 0.35 * seen(0.36, spots.footprint_m)
    column = torch.sin(spots.u_m * (2 * torch.pi / 0.30)) * 0.12 * seen(0.15, spots.footprint_m)
    runs = value_noise(spots.u_m / 0.55 + spots.seed, spots.v_m / 3.5) * seen(0.55, spots.footprint_m)
    tile = cell_hash(torch.floor(spots.u_m / 0.30), torch.floor(spots.v_m / 0.36), spots.seed) - 0.5
    light = 1.0 + course + column + 0.11 * runs + 0.17 * spots.grain(3.1, 1.2, 0.5)
    light = light + 0.30 * tile * seen(0.30, spots.footprint_m)
    moss = (spots.grain(4.7, 1.9) - 0.35).clamp(0.0, 0.4)
    roof = _mix(spots.albedo * _grey(light), torch.tensor([0.10, 0.12, 0.06]), moss)
    roof = _mix(roof, spots.albedo * 1.35, spots.inside(0.22 - spots.v_m))
    roof = _mix(roof, 0.6 * spots.albedo, spots.inside(0.16 - (spots.half_m - spots.u_m.abs())) * 0.7)

    dice = cell_hash(torch.floor(spots.seed), spots.face, 1.0)
    u_share = spots.u_m / spots.half_m.clamp_min(0.1)
    panels = (
        spots.inside((0.62 - u_share.abs()) * spots.half_m)
        * spots.inside(spots.v_m - 1.0)
        * spots.inside(3.7 - spots.v_m)
    )
    panels = panels * (dice < 0.22)
    seam = torch.minimum((spots.u_m / 1.05).frac().abs(), ((spots.v_m - 1.0) / 1.35).frac().abs()) < 0.07
    solar = torch.tensor([0.018, 0.024, 0.055]) * _grey(1.0 + 2.5 * seam * seen(0.25, spots.footprint_m))
    roof = _mix(roof, solar, panels)

    cell = torch.floor(spots.u_m / 3.4)
    lit = (cell_hash(cell, spots.face, spots.seed) < 0.22) & (dice >= 0.22)
    du, dv = spots.u_m - (cell + 0.5) * 3.4, spots.v_m - 2.4
    pane = spots.inside(0.45 - du.abs()) * spots.inside(0.6 - dv.abs()) * lit
    return _mix(roof, torch.tensor([0.10, 0.14, 0.19]), pane)


def _flat_roof(spots: Spots) -> Tensor:
    seam = spots.inside(0.05 - ((spots.u_m / 2.0).frac().abs() - 0.5).abs() * 2.0)
    light = 1.0 + 0.13 * spots.grain(5.0, 1.9, 0.7, 0.3)
    puddle = (spots.grain(6.3, 2.7) - 0.30).clamp(0.0, 0.25) * 2.0
    return spots.albedo * _grey(light * (1.0 - 0.22 * seam) * (1.0 - puddle))


def _metal_roof(spots: Spots) -> Tensor:
    rib = ((spots.u_m / 0.6).frac().abs() < 0.16) * seen(0.5, spots.footprint_m)
    return spots.albedo * _grey(1.0 - 0.22 * rib + 0.08 * spots.grain(4.0, 1.3, 0.6))


def _leaves(spots: Spots) -> Tensor:
    x, y, z = spots.world_m.unbind(-1)
    u, v = x + 0.8 * z + spots.seed, y - 0.9 * z
    leaf = fbm(u, v, (0.8, 0.4, 0.2), spots.footprint_m)
    clump = value_noise(u / 1.9 - 5.0, v / 1.9)
    gap = (leaf + 0.4 * clump - 0.45).clamp(0.0, 0.5)  # a look between the leaves into the crown
    depth = 0.5 + 0.5 * spots.normal[:, 2]
    light = (0.58 + 0.46 * depth) * (1.0 + 0.55 * leaf + 0.22 * clump) * (1.0 - 1.3 * gap)
    warm = 1.0 + 0.14 * leaf
    return spots.albedo * torch.stack((light * warm, light, light * (1.0 - 0.1 * leaf)), dim=1).clamp_min(
        0.12
    )


def _needles(spots: Spots) -> Tensor:
    x, y, z = spots.world_m.unbind(-1)
    leaf = fbm(x + 0.5 * z, y - 0.6 * z + spots.seed, (0.7, 0.35), spots.footprint_m)
    return spots.albedo * _grey((0.65 + 0.35 * spots.normal[:, 2].clamp_min(0.0)) * (1.0 + 0.55 * leaf))


def _bark(spots: Spots) -> Tensor:
    return spots.albedo * _grey(1.0 + 0.30 * spots.grain(0.6, 0.3))


def _car_paint(spots: Spots) -> Tensor:
    # Clear coat mirrors some sky from faces that look up.
    up = spots.normal[:, 2].clamp_min(0.0) ** 4
    return _mix(spots.albedo, torch.tensor([0.45, 0.50, 0.58]), 0.10 * up)


def _glass(spots: Spots) -> Tensor:
    up = spots.normal[:, 2].clamp_min(0.0)
    return _mix(spots.albedo, torch.tensor([0.20, 0.24, 0.30]), 0.35 * up)


def _rubble(spots: Spots) -> Tensor:
    x, y, z = spots.world_m.unbind(-1)
    grit = fbm(x + 0.7 * z, y - 0.6 * z + spots.seed, (1.9, 0.8, 0.4, 0.2), spots.footprint_m)
    rust = (fbm(x - 0.5 * z, y + z, (1.3, 0.6), spots.footprint_m) - 0.3).clamp(0.0, 0.6)
    return _mix(spots.albedo * _grey(1.0 + 0.55 * grit), torch.tensor([0.26, 0.12, 0.08]), rust)


_LOOKS: dict[Material, Callable[[Spots], Tensor]] = {
    Material.PLAIN: _plain,
    Material.FACADE: _facade,
    Material.BRICK_FACADE: _brick_facade,
    Material.TILES: _tiles,
    Material.FLAT_ROOF: _flat_roof,
    Material.METAL_ROOF: _metal_roof,
    Material.LEAVES: _leaves,
    Material.NEEDLES: _needles,
    Material.BARK: _bark,
    Material.CAR_PAINT: _car_paint,
    Material.CAR_GLASS: _glass,
    Material.RUBBLE: _rubble,
}


def ruffled(
    table: SolidTable, solid: Int[Tensor, " n"], normal: Float[Tensor, "n 3"], points: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """Normals as light meets them: foliage turns its leaves every way, everything else keeps its own."""
    kind = table.material[solid, 0]
    at = torch.nonzero((kind == Material.LEAVES) | (kind == Material.NEEDLES))[:, 0]
    if not len(at):
        return normal
    x, y, z = (points[at] / 0.55).unbind(-1)
    tilt = torch.stack(
        (value_noise(x + 0.7 * z, y), value_noise(y + 9.0, z + 0.6 * x), value_noise(z, x - 0.5 * y)), dim=1
    )
    out = normal.clone()
    # A crown is lit as one round thing more than as its clumps.
    outwards = torch.nn.functional.normalize(points[at] - table.heart[solid[at]], dim=1)
    out[at] = torch.nn.functional.normalize(0.5 * normal[at] + 0.7 * outwards + 0.7 * tilt, dim=1)
    return out


def solid_albedo(
    table: SolidTable,
    solid: Int[Tensor, " n"],
    touch: Contacts,
    points: Float[Tensor, "n 3"],
    footprint_m: Float[Tensor, " n"],
) -> Float[Tensor, "n 3"]:
    """Linear albedo of points on solids; `footprint_m` is the width of ground that one pixel covers there."""
    axis = touch.face // 2
    material = table.material[solid, axis]
    out = torch.empty_like(points)
    for kind in Material:
        chosen = torch.nonzero(material == kind)[:, 0]
        if len(chosen):
            spots = _spots(table, solid[chosen], touch, chosen, points[chosen], footprint_m[chosen])
            out[chosen] = _LOOKS[kind](spots)
    return out.clamp(0.004, 0.95)


def _spots(
    table: SolidTable, solid: Tensor, touch: Contacts, chosen: Tensor, points: Tensor, footprint_m: Tensor
) -> Spots:
    local, face, half = touch.local_m[chosen], touch.face[chosen], table.half_m[solid]
    axis = face // 2
    end, top = axis == 0, axis == 2
    normal = touch.normal[chosen]
    u = torch.where(end, local[:, 1], local[:, 0])
    half_u = torch.where(end, half[:, 1], half[:, 0])
    leaning = (table.taper[solid].amax(dim=1) > 0.3) & table.is_block[solid]
    from_ridge = (half[:, 2] - local[:, 2]) / torch.sqrt((1.0 - normal[:, 2] ** 2).clamp_min(0.02))
    v = torch.where(leaning, from_ridge, local[:, 2] + half[:, 2])
    v = torch.where(top, local[:, 1], v)
    return Spots(
        u_m=u, v_m=v, half_m=half_u, height_m=2.0 * half[:, 2], face=face, world_m=points, normal=normal,
        albedo=table.albedo[solid, axis], seed=table.seed[solid], footprint_m=footprint_m,
    )  # fmt: skip

"""The event: a building comes down, a street is blocked, low ground is flooded."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from anerf.scene.made.city import City, Street
from anerf.scene.made.greenery import fallen_tree
from anerf.scene.made.houses import STOREY_M
from anerf.scene.made.plots import DOOMED
from anerf.scene.made.shapes import Material, Rgb, Skin, Solid, block, ellipsoid
from anerf.scene.made.strokes import Cover, Stroke
from anerf.scene.made.terrain import Terrain
from anerf.scene.made.vehicles import car, overturned_lorry

WATER_M = -0.33
_DEBRIS: tuple[Rgb, ...] = (
    (0.62, 0.59, 0.54), (0.54, 0.52, 0.49), (0.70, 0.66, 0.58), (0.55, 0.36, 0.28), (0.48, 0.47, 0.46),
    (0.66, 0.57, 0.45),
)  # fmt: skip


@dataclass(frozen=True)
class Footprint:
    """Ground that a part of the event covers: what happened, and a closed polygon of ENU (x, y) in metres."""

    what: str
    polygon: tuple[tuple[float, float], ...]

    @property
    def middle(self) -> tuple[float, float]:
        """Mean of the corners."""
        x, y = np.mean(np.array(self.polygon), axis=0)
        return float(x), float(y)


@dataclass(frozen=True)
class Event:
    """Everything that happened between the two flights."""

    footprints: tuple[Footprint, ...]


def strike(city: City) -> tuple[City, Event]:
    """The city after its event, and the ground that it touched."""
    rng = np.random.default_rng([city.seed, 2])
    city, collapsed = _collapse(rng, city)
    city, blocked = _block_street(rng, city)
    terrain = replace(city.terrain, water_m=WATER_M)
    flooded = Footprint("flooded area", _waterline(terrain, WATER_M))
    return replace(city, terrain=terrain), Event((collapsed, blocked, flooded))


def _rectangle(x: float, y: float, half_x: float, half_y: float) -> tuple[tuple[float, float], ...]:
    return (
        (x - half_x, y - half_y),
        (x + half_x, y - half_y),
        (x + half_x, y + half_y),
        (x - half_x, y + half_y),
    )


def _debris(rng: np.random.Generator) -> Skin:
    return Skin(Material.RUBBLE, _DEBRIS[int(rng.integers(len(_DEBRIS)))])


def _collapse(rng: np.random.Generator, city: City) -> tuple[City, Footprint]:
    """The doomed building becomes a heap of slabs; a stump of it stays standing at one end."""
    body = next(solid for solid in city.solids if solid.group == DOOMED)
    x, y, half_x, half_y = body.center[0], body.center[1], body.half_m[0], body.half_m[1]
    outwards = float(city.plot("apartments").east)  # the stump stands at the end away from the crossing
    kept = tuple(solid for solid in city.solids if solid.group != DOOMED)
    stump_half = 0.17 * half_x
    stump_x = x + outwards * (half_x - stump_half)
    wall, broken = body.skins[0], Skin(Material.RUBBLE, (0.60, 0.57, 0.52))
    parts: list[Solid] = []
    for storey, share in enumerate((1.0, 1.0, 0.72)):
        width = stump_half * share
        center = (stump_x + outwards * stump_half * (1.0 - share), y, STOREY_M * (storey + 0.5))
        skins = (wall if storey < 2 else broken, wall, broken)
        parts.append(
            block(center, (width, half_y * (1.0 - 0.1 * storey), STOREY_M / 2), skins, seed=body.seed)
        )
    heap_x, heap_half = x - outwards * stump_half, half_x - stump_half + 1.5
    for _ in range(16):  # the mound, made of overlapping low domes
        u, v = rng.uniform(-0.8, 0.8), rng.uniform(-0.7, 0.7)
        high = 3.2 * (1.0 - 0.55 * max(abs(u), abs(v))) * rng.uniform(0.7, 1.15)
        place = (heap_x + u * heap_half, y + v * half_y, 0.0)
        parts.append(
            ellipsoid(
                place,
                (rng.uniform(2.2, 3.8), rng.uniform(2.0, 3.2), high),
                _debris(rng),
                seed=float(rng.uniform(0, 99)),
            )
        )
    for index in range(130):  # slabs and chunks on the mound, sliding off it
        u, v = rng.uniform(-1.12, 1.12), rng.uniform(-1.25, 1.25)
        mound = max(0.15, 2.9 * (1.0 - 0.75 * max(abs(u), abs(v)) ** 2))
        slab = index < 55
        half = (
            (rng.uniform(0.9, 2.3), rng.uniform(0.6, 1.5), rng.uniform(0.09, 0.16))
            if slab
            else (rng.uniform(0.2, 0.7), rng.uniform(0.15, 0.5), rng.uniform(0.12, 0.4))
        )
        tilt = 34.0 if slab else 60.0
        skin = _debris(rng) if rng.random() < 0.8 or not slab else Skin(Material.PLAIN, wall.rgb)
        place = (heap_x + u * heap_half, y + v * half_y, mound * rng.uniform(0.75, 1.05))
        parts.append(
            block(
                place,
                half,
                skin,
                yaw_deg=float(rng.uniform(0, 180)),
                pitch_deg=float(rng.normal(0, tilt)),
                roll_deg=float(rng.normal(0, tilt)),
                seed=float(rng.uniform(0, 99)),
            )
        )
    dust = (
        Stroke(
            Cover.RUBBLE,
            heap_x,
            y,
            heap_half + 3.2,
            half_y + 3.4,
            (0.60, 0.57, 0.52),
            round=True,
            soft_m=2.4,
            opacity=0.9,
        ),
        Stroke(Cover.RUBBLE, heap_x, y, heap_half + 0.6, half_y + 0.8, (0.50, 0.47, 0.43), soft_m=1.4),
    )
    city = replace(city, solids=(*kept, *parts), strokes=(*city.strokes, *dust))
    return city, Footprint("collapsed building", _rectangle(x, y, half_x + 4.5, half_y + 4.0))


def _block_street(rng: np.random.Generator, city: City) -> tuple[City, Footprint]:
    """An overturned lorry, a fallen tree, cars askew and debris across the dry arm of the main street."""
    street = city.main
    away = -float(city.plot("park").east)
    along = city.side.at_m + away * 29.0
    kept = _cleared(city, street, along, 10.0)
    x, y = street.place(along, 0.0)
    ground = city.terrain.height
    parts = overturned_lorry(*street.place(along - 3.0, 0.6), ground(x, y), 62.0)
    parts += fallen_tree(
        rng, *street.place(along + 4.5, -1.0), ground(x, y), 104.0 + rng.uniform(-8, 8), 10.5, "fallen tree"
    )
    for step, across, yaw in ((-8.2, -2.2, 24.0), (8.4, 2.0, 160.0), (-7.0, 2.6, -70.0)):
        place = street.place(along + step, across)
        parts += car(rng, *place, ground(*place), yaw)
    for _ in range(42):
        place = street.place(along + rng.normal(0, 3.8), rng.uniform(-1.0, 1.0) * (street.half_m + 1.0))
        half = (rng.uniform(0.15, 0.8), rng.uniform(0.1, 0.5), rng.uniform(0.06, 0.3))
        parts.append(
            block(
                (*place, ground(*place) + 0.7 * half[2]),
                half,
                _debris(rng),
                yaw_deg=float(rng.uniform(0, 180)),
                pitch_deg=float(rng.normal(0, 12)),
                seed=float(rng.uniform(0, 99)),
            )
        )
    mess = Stroke(
        Cover.RUBBLE, x, y, 7.5, street.half_m, (0.47, 0.44, 0.40), round=True, soft_m=2.0, opacity=0.8
    )
    city = replace(city, solids=(*kept, *parts), strokes=(*city.strokes, mess))
    return city, Footprint("blocked street", _rectangle(x, y, 11.5, street.half_m + 3.5))


def _cleared(city: City, street: Street, along_m: float, reach_m: float) -> tuple[Solid, ...]:
    """The city's solids without the cars, trees and lamps that stand in the way of the blockage."""

    def in_the_way(solid: Solid) -> bool:
        x, y = solid.center[0], solid.center[1]
        along, across = (x, y - street.at_m) if street.along_x else (y, x - street.at_m)
        return abs(along - along_m) < reach_m and abs(across) < street.half_m + 0.1

    groups = {solid.group for solid in city.solids if solid.group and in_the_way(solid)}
    groups = {group for group in groups if not _standing(city, group, in_the_way)}
    return tuple(
        solid
        for solid in city.solids
        if not (solid.group in groups or (not solid.group and in_the_way(solid)))
    )


def _standing(city: City, group: str, in_the_way: Callable[[Solid], bool]) -> bool:
    """Whether a group's first part, its foot, is out of the way; such a group stays whole."""
    return not in_the_way(next(solid for solid in city.solids if solid.group == group))


def _waterline(terrain: Terrain, level_m: float, n_corners: int = 36) -> tuple[tuple[float, float], ...]:
    """The shore around the deepest hollow, by walking outwards from its middle in all directions."""
    deepest = max(terrain.hollows, key=lambda hollow: hollow.depth_m)
    corners = []
    for angle in np.linspace(0, 2 * np.pi, n_corners, endpoint=False):
        reach = 0.0
        while terrain.height(deepest.x + reach * np.cos(angle), deepest.y + reach * np.sin(angle)) < level_m:
            reach += 0.1
        corners.append((float(deepest.x + reach * np.cos(angle)), float(deepest.y + reach * np.sin(angle))))
    return tuple(corners)

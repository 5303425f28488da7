"""Buildings: row houses, flat-roofed apartments, a church, sheds, with the furniture on their roofs."""

import math
from dataclasses import dataclass

import numpy as np

from anerf.scene.made.shapes import Material, Rgb, Skin, Solid, block, ellipsoid

SINK_M = 1.5  # walls reach below the ground, which may dip
STOREY_M = 3.0

PLASTER: tuple[Rgb, ...] = (
    (0.89, 0.86, 0.79), (0.84, 0.76, 0.63), (0.78, 0.79, 0.78), (0.87, 0.81, 0.58), (0.80, 0.66, 0.55),
    (0.70, 0.75, 0.76), (0.92, 0.91, 0.88),
)  # fmt: skip
BRICK: tuple[Rgb, ...] = ((0.58, 0.33, 0.26), (0.64, 0.42, 0.32), (0.50, 0.30, 0.26), (0.68, 0.52, 0.41))
TILE: tuple[Rgb, ...] = (
    (0.62, 0.31, 0.22), (0.55, 0.27, 0.20), (0.37, 0.33, 0.32), (0.67, 0.38, 0.26), (0.46, 0.25, 0.21),
    (0.29, 0.30, 0.33),
)  # fmt: skip
ROOFING: tuple[Rgb, ...] = ((0.58, 0.57, 0.55), (0.44, 0.44, 0.45), (0.66, 0.63, 0.58))
CONCRETE = Skin(Material.PLAIN, (0.66, 0.65, 0.62))
STEEL = Skin(Material.METAL_ROOF, (0.70, 0.72, 0.74))
DARK = Skin(Material.PLAIN, (0.20, 0.20, 0.22))


@dataclass(frozen=True)
class Lot:
    """Where a building stands: centre, half sizes in its own axes, and the yaw of its x axis."""

    x: float
    y: float
    half_x: float
    half_y: float
    yaw_deg: float = 0.0

    def at(self, along_m: float, across_m: float) -> tuple[float, float]:
        """World x, y of a place given along the lot's own axes from its centre."""
        angle = math.radians(self.yaw_deg)
        cosine, sine = math.cos(angle), math.sin(angle)
        return self.x + along_m * cosine - across_m * sine, self.y + along_m * sine + across_m * cosine


def on_lot(
    lot: Lot,
    along_m: float,
    across_m: float,
    half_m: tuple[float, float, float],
    base_m: float,
    skins: Skin | tuple[Skin, Skin, Skin],
    *,
    taper: tuple[float, float] = (0.0, 0.0),
    seed: float = 0.0,
    group: str = "",
) -> Solid:
    """A block standing with its base at `base_m`, placed along the lot's axes."""
    x, y = lot.at(along_m, across_m)
    center = (x, y, base_m + half_m[2])
    return block(center, half_m, skins, yaw_deg=lot.yaw_deg, taper=taper, seed=seed, group=group)


def _pick(rng: np.random.Generator, palette: tuple[Rgb, ...]) -> Rgb:
    rgb = palette[int(rng.integers(len(palette)))]
    shift = rng.uniform(-0.03, 0.03)
    return (rgb[0] + shift, rgb[1] + shift, rgb[2] + shift)


def _walls(rng: np.random.Generator) -> tuple[Skin, Skin]:
    """The wall with windows, and the same wall without."""
    if rng.random() < 0.4:
        rgb = _pick(rng, BRICK)
        return Skin(Material.BRICK_FACADE, rgb), Skin(Material.PLAIN, rgb)
    rgb = _pick(rng, PLASTER)
    return Skin(Material.FACADE, rgb), Skin(Material.PLAIN, rgb)


def gabled_house(
    rng: np.random.Generator, lot: Lot, eaves_m: float, ridge_m: float, group: str
) -> list[Solid]:
    """A house with its ridge along the lot's x axis: walls, tiled roof, chimney, perhaps a dormer."""
    facade, plain = _walls(rng)
    tiles = Skin(Material.TILES, _pick(rng, TILE))
    seed = float(rng.uniform(0, 1000))
    hipped = rng.random() < 0.2
    lean = (min(0.9, 0.9 * lot.half_y / lot.half_x), 1.0) if hipped else (0.0, 1.0)
    rise = ridge_m - eaves_m
    parts = [
        on_lot(
            lot,
            0,
            0,
            (lot.half_x, lot.half_y, (eaves_m + SINK_M) / 2),
            -SINK_M,
            (facade, facade, plain),
            seed=seed,
            group=group,
        ),
        on_lot(
            lot,
            0,
            0,
            (lot.half_x + (0.35 if hipped else 0.15), lot.half_y + 0.4, rise / 2),
            eaves_m - 0.1,
            (tiles if hipped else plain, tiles, tiles),
            taper=lean,
            seed=seed,
            group=group,
        ),
    ]

    def roof_z(across_m: float) -> float:
        return eaves_m + rise * (1.0 - abs(across_m) / (lot.half_y + 0.4))

    along, across = rng.uniform(-0.6, 0.6) * lot.half_x, rng.uniform(0.15, 0.4) * lot.half_y
    chimney = Skin(Material.PLAIN, _pick(rng, BRICK))
    base = roof_z(across) - 0.6
    parts.append(on_lot(lot, along, across, (0.35, 0.3, 1.0), base, chimney, group=group))
    parts.append(on_lot(lot, along, across, (0.42, 0.37, 0.08), base + 2.0, CONCRETE, group=group))
    if rng.random() < 0.45 and not hipped:
        side = 1.0 if rng.random() < 0.5 else -1.0
        place, low = rng.uniform(-0.4, 0.4) * lot.half_x, 0.62 * lot.half_y
        front = Skin(Material.FACADE, facade.rgb)
        parts += [
            on_lot(
                lot,
                place,
                side * low,
                (1.3, 1.1, 0.85),
                roof_z(low) - 0.6,
                (plain, front, plain),
                seed=seed,
                group=group,
            ),
            on_lot(
                lot, place, side * low, (1.5, 1.3, 0.14), roof_z(low) + 1.1, (DARK, DARK, tiles), group=group
            ),
        ]
    return parts


def flat_block(rng: np.random.Generator, lot: Lot, storeys: int, group: str) -> list[Solid]:
    """An apartment house: parapet, stair heads, ventilation, skylights and balconies."""
    facade, plain = _walls(rng)
    roofing = Skin(Material.FLAT_ROOF, _pick(rng, ROOFING))
    seed = float(rng.uniform(0, 1000))
    top = storeys * STOREY_M + 0.4
    hx, hy = lot.half_x, lot.half_y
    rim = Skin(Material.PLAIN, (0.74, 0.73, 0.70))
    parts = [
        on_lot(
            lot,
            0,
            0,
            (hx, hy, (top + SINK_M) / 2),
            -SINK_M,
            (facade, facade, roofing),
            seed=seed,
            group=group,
        )
    ]
    for side in (-1.0, 1.0):
        parts.append(on_lot(lot, 0, side * (hy - 0.15), (hx, 0.15, 0.3), top, rim, group=group))
        parts.append(on_lot(lot, side * (hx - 0.15), 0, (0.15, hy - 0.3, 0.3), top, rim, group=group))
    for _ in range(max(1, round(hx / 7))):
        along = rng.uniform(-0.8, 0.8) * hx
        head = on_lot(
            lot,
            along,
            rng.uniform(-0.2, 0.2) * hy,
            (1.7, 1.4, 1.3),
            top,
            (plain, plain, roofing),
            seed=seed,
            group=group,
        )
        parts.append(head)
    for _ in range(round(hx * hy / 9)):
        along, across = rng.uniform(-0.85, 0.85) * hx, rng.uniform(-0.75, 0.75) * hy
        kind = rng.random()
        if kind < 0.4:
            size = (rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.6))
            parts.append(on_lot(lot, along, across, size, top, STEEL, group=group))
        elif kind < 0.7:
            x, y = lot.at(along, across)
            parts.append(
                ellipsoid(
                    (x, y, top), (0.7, 0.7, 0.45), Skin(Material.PLAIN, (0.82, 0.85, 0.88)), group=group
                )
            )
        else:
            panel = Skin(Material.CAR_GLASS, (0.10, 0.12, 0.20))
            x, y = lot.at(along, across)
            parts.append(
                block(
                    (x, y, top + 0.45),
                    (1.6, 0.85, 0.04),
                    panel,
                    yaw_deg=lot.yaw_deg,
                    roll_deg=22,
                    group=group,
                )
            )
    bay = 5.8
    balcony = Skin(Material.PLAIN, _pick(rng, PLASTER))
    for bay_index in range(int(2 * hx / bay)):
        along = -hx + bay * (bay_index + 0.5)
        for storey in range(1, storeys):
            parts.append(
                on_lot(
                    lot, along, -hy - 0.6, (1.4, 0.6, 0.5), storey * STOREY_M, balcony, seed=seed, group=group
                )
            )
    return parts


def church(rng: np.random.Generator, lot: Lot, group: str) -> list[Solid]:
    """A nave with a steep roof and a tower with a spire at the end of its x axis."""
    stone = _pick(rng, ((0.71, 0.66, 0.57), (0.66, 0.55, 0.46)))
    wall, plain = Skin(Material.FACADE, stone), Skin(Material.PLAIN, stone)
    slate = Skin(Material.TILES, (0.33, 0.35, 0.38))
    copper = Skin(Material.METAL_ROOF, (0.42, 0.58, 0.52))
    nave, tower = 7.0, 15.0
    width = 0.62 * lot.half_y
    end = lot.half_x + width - 0.5
    return [
        on_lot(
            lot,
            0,
            0,
            (lot.half_x, lot.half_y, (nave + SINK_M) / 2),
            -SINK_M,
            (wall, wall, plain),
            seed=7,
            group=group,
        ),
        on_lot(
            lot,
            0,
            0,
            (lot.half_x + 0.2, lot.half_y + 0.4, 2.6),
            nave - 0.1,
            (plain, slate, slate),
            taper=(0, 1),
            group=group,
        ),
        on_lot(
            lot,
            end,
            0,
            (width, width, (tower + SINK_M) / 2),
            -SINK_M,
            (wall, wall, plain),
            seed=9,
            group=group,
        ),
        on_lot(lot, end, 0, (width + 0.3, width + 0.3, 3.6), tower, copper, taper=(1, 1), group=group),
        on_lot(
            lot,
            -lot.half_x - 1.8,
            0,
            (1.9, 0.7 * lot.half_y, (5.0 + SINK_M) / 2),
            -SINK_M,
            (wall, wall, plain),
            seed=3,
            group=group,
        ),
        on_lot(
            lot,
            -lot.half_x - 1.8,
            0,
            (2.1, 0.75 * lot.half_y, 1.0),
            4.95,
            slate,
            taper=(0.8, 0.9),
            group=group,
        ),
    ]


def hall(rng: np.random.Generator, lot: Lot, eaves_m: float, group: str) -> list[Solid]:
    """A low market or sports hall under a shallow metal roof with rooflights."""
    facade, plain = _walls(rng)
    metal = Skin(
        Material.METAL_ROOF, _pick(rng, ((0.62, 0.66, 0.70), (0.52, 0.60, 0.58), (0.70, 0.64, 0.56)))
    )
    parts = [
        on_lot(
            lot,
            0,
            0,
            (lot.half_x, lot.half_y, (eaves_m + SINK_M) / 2),
            -SINK_M,
            (facade, facade, plain),
            seed=float(rng.uniform(0, 1000)),
            group=group,
        ),
        on_lot(
            lot,
            0,
            0,
            (lot.half_x + 0.4, lot.half_y + 0.4, 0.7),
            eaves_m,
            (plain, metal, metal),
            taper=(0, 0.95),
            group=group,
        ),
    ]
    light = Skin(Material.PLAIN, (0.80, 0.84, 0.87))
    for index in range(int(lot.half_x / 2.5)):
        along = -lot.half_x + 2.5 + 5.0 * index
        if abs(along) < lot.half_x - 1.0:
            parts.append(
                on_lot(lot, along, 0, (0.8, 0.35 * lot.half_y, 0.45), eaves_m + 1.05, light, group=group)
            )
    return parts


def shed(rng: np.random.Generator, lot: Lot) -> list[Solid]:
    """A garden shed or garage."""
    wood = Skin(Material.PLAIN, _pick(rng, ((0.50, 0.40, 0.30), (0.62, 0.58, 0.52), (0.42, 0.47, 0.42))))
    roof = Skin(Material.FLAT_ROOF, _pick(rng, ROOFING))
    return [
        on_lot(lot, 0, 0, (lot.half_x, lot.half_y, 1.6), -0.9, wood),
        on_lot(lot, 0, 0, (lot.half_x + 0.15, lot.half_y + 0.15, 0.1), 2.3, (wood, wood, roof)),
    ]

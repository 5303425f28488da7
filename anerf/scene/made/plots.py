"""The four plots of the block: apartments, row houses, a park, and an old quarter with a church."""

from dataclasses import dataclass

import numpy as np

from anerf.scene.made.greenery import broadleaf, bush, conifer, hedge
from anerf.scene.made.houses import Lot, church, flat_block, gabled_house, hall, shed
from anerf.scene.made.shapes import Material, Rgb, Skin, Solid, block
from anerf.scene.made.strokes import Cover, Stroke
from anerf.scene.made.terrain import Terrain
from anerf.scene.made.vehicles import car

DOOMED = "apartments by the crossing"  # the building that the event brings down
_LAWN: Rgb = (0.40, 0.49, 0.25)
_PATH: Rgb = (0.70, 0.65, 0.55)
_ASPHALT: Rgb = (0.40, 0.40, 0.41)
_WHITE: Rgb = (0.86, 0.86, 0.84)
Filled = tuple[list[Solid], list[Stroke]]


@dataclass(frozen=True)
class Plot:
    """A rectangle between the streets; `east`, `north` (+1, -1) tell on which side of the crossing."""

    kind: str
    x0: float
    y0: float
    x1: float
    y1: float
    east: int
    north: int

    @property
    def x(self) -> float:
        """Middle, metres east."""
        return (self.x0 + self.x1) / 2

    @property
    def y(self) -> float:
        """Middle, metres north."""
        return (self.y0 + self.y1) / 2

    def from_crossing(self, along_m: float, away_m: float) -> tuple[float, float]:
        """World x, y of the place `along_m` down the main street from the crossing, `away_m` back."""
        corner_x = self.x0 if self.east > 0 else self.x1
        corner_y = self.y0 if self.north > 0 else self.y1
        return corner_x + self.east * along_m, corner_y + self.north * away_m

    @property
    def facing_deg(self) -> float:
        """Yaw that turns a building's -y side (its front) to the main street."""
        return 0.0 if self.north > 0 else 180.0

    def lawn(self, rgb: Rgb = _LAWN) -> Stroke:
        """Grass over the whole plot."""
        return Stroke(
            Cover.LAWN, self.x, self.y, (self.x1 - self.x0) / 2, (self.y1 - self.y0) / 2, rgb, soft_m=0.15
        )


def fill_apartments(rng: np.random.Generator, plot: Plot, terrain: Terrain) -> Filled:
    """Flat-roofed blocks around a green yard with a car park and a playground."""
    width, depth = plot.x1 - plot.x0, plot.y1 - plot.y0
    solids: list[Solid] = []
    strokes = [plot.lawn((0.42, 0.50, 0.28))]

    def lot(along: float, away: float, half_x: float, half_y: float, turn: float = 0.0) -> Lot:
        x, y = plot.from_crossing(along, away)
        return Lot(x, y, half_x, half_y, plot.facing_deg + turn)

    half = 0.23 * width
    solids += flat_block(rng, lot(half + 1.0, 8.0, half, 6.0), 5, DOOMED)
    solids += flat_block(
        rng,
        lot(width - 0.20 * width - 1, 7.5, 0.20 * width, 5.6),
        int(rng.integers(3, 5)),
        "apartments along",
    )
    solids += flat_block(
        rng, lot(6.5, depth - 15.0, 14.0, 5.4, 90.0 * plot.east * plot.north), 4, "apartments behind"
    )
    solids += flat_block(rng, lot(width - 13.0, depth - 6.5, 12.0, 5.0), 3, "apartments far")

    yard_x, yard_y = plot.from_crossing(width * 0.58, depth * 0.50)
    strokes.append(Stroke(Cover.ASPHALT, yard_x, yard_y - plot.north * 2.5, 12.5, 7.4, _ASPHALT))
    for bay in range(9):
        for row in (-1, 1):
            x, y = yard_x - 11.0 + 2.7 * bay, yard_y - plot.north * 2.5 + row * 4.8
            strokes.append(Stroke(Cover.PAINT, x - 1.35, y, 0.06, 2.4, _WHITE, soft_m=0.05))
            if rng.random() < 0.68:
                solids += car(rng, x + rng.uniform(-0.15, 0.15), y + rng.uniform(-0.2, 0.2), 0.0, 90.0 * row)
    for along, away, half_x, half_y in (
        (width / 2, 15.6, width / 2, 0.9),
        (14.2, depth * 0.55, 0.9, depth * 0.42),
    ):
        x, y = plot.from_crossing(along, away)
        strokes.append(Stroke(Cover.PAVING, x, y, half_x, half_y, (0.66, 0.62, 0.57)))
    x, y = plot.from_crossing(width * 0.42, depth - 8.0)
    strokes.append(Stroke(Cover.GRAVEL, x, y, 4.0, 3.0, (0.80, 0.72, 0.54), round=True))
    solids.append(
        block(
            (x, y, 0.9),
            (1.2, 0.5, 0.9),
            Skin(Material.PLAIN, (0.75, 0.20, 0.15)),
            yaw_deg=30,
            taper=(0.7, 0.2),
        )
    )
    solids.append(
        block((x + 2, y - 1, 0.5), (0.4, 0.4, 0.6), Skin(Material.PLAIN, (0.20, 0.35, 0.65)), yaw_deg=15)
    )
    for along, away in (
        (19.0, 20.5),
        (width - 3.5, 21.5),
        (19.0, depth - 5.0),
        (width * 0.55, depth - 14.5),
        (width - 4, depth - 17),
        (27.0, depth - 15.5),
    ):
        x, y = plot.from_crossing(along + rng.uniform(-1, 1), away + rng.uniform(-1, 1))
        solids += broadleaf(rng, x, y, terrain.height(x, y), rng.uniform(7, 11))
    return solids, strokes


def fill_row_houses(rng: np.random.Generator, plot: Plot, terrain: Terrain) -> Filled:
    """Two rows of gabled houses, back to back, with gardens, sheds and hedges between."""
    width, depth = plot.x1 - plot.x0, plot.y1 - plot.y0
    solids: list[Solid] = []
    strokes = [plot.lawn()]
    for away, back in ((9.0, 1.0), (depth - 8.5, -1.0)):
        along, last = 1.5, width - 1.5
        while last - along > 6.0:
            frontage = min(float(rng.uniform(6.8, 9.4)), last - along)
            if last - along - frontage < 6.0:
                frontage = last - along
            eaves = float(rng.choice([5.6, 6.0, 6.4])) + rng.uniform(-0.2, 0.2)
            x, y = plot.from_crossing(along + frontage / 2, away + rng.uniform(-0.7, 0.7))
            half = frontage / 2 - (0.0 if rng.random() < 0.7 else 0.9)
            solids += gabled_house(
                rng,
                Lot(x, y, half, rng.uniform(4.6, 5.4), plot.facing_deg),
                eaves,
                eaves + rng.uniform(2.9, 4.2),
                "row house",
            )
            _, front = plot.from_crossing(0.0, away - back * 7.2)
            drive: Rgb = (0.60, 0.57, 0.54) if rng.random() < 0.6 else (0.52, 0.44, 0.40)
            strokes.append(Stroke(Cover.PAVING, x + 1.2, front, 1.5, 2.2, drive))
            if rng.random() < 0.3:
                solids += car(rng, x + 1.2, front, terrain.height(x, front), 90.0)
            elif rng.random() < 0.6:
                solids += bush(rng, x - 1.5, front, terrain.height(x, front), rng.uniform(0.9, 1.4))
            _, patio = plot.from_crossing(0.0, away + back * 6.7)
            strokes.append(Stroke(Cover.PAVING, x, patio, half * 0.8, 1.5, (0.66, 0.58, 0.50)))
            along += frontage
            if rng.random() < 0.75:
                edge_x, _ = plot.from_crossing(along, 0.0)
                _, near_y = plot.from_crossing(0.0, away + back * 6.5)
                _, far_y = plot.from_crossing(0.0, away + back * (depth / 2 - 9.5))
                solids += hedge(rng, (edge_x, near_y), (edge_x, far_y), 0.0)
            garden_x, garden_y = plot.from_crossing(
                along - frontage * rng.uniform(0.35, 0.65), away + back * rng.uniform(10.0, 13.5)
            )
            pick = rng.random()
            if pick < 0.35:
                solids += shed(
                    rng,
                    Lot(garden_x, garden_y, rng.uniform(1.1, 1.7), rng.uniform(1.0, 1.4), rng.uniform(-4, 4)),
                )
            elif pick < 0.75:
                solids += broadleaf(rng, garden_x, garden_y, 0.0, rng.uniform(4.5, 7.5))
            elif pick < 0.9:
                strokes.append(
                    Stroke(Cover.PLAIN, garden_x, garden_y, 1.7, 1.7, (0.30, 0.62, 0.72), round=True)
                )
            else:
                strokes.append(
                    Stroke(Cover.FIELD, garden_x, garden_y, 2.2, 2.6, (0.42, 0.33, 0.25), soft_m=0.4)
                )
    return solids, strokes


def fill_park(rng: np.random.Generator, plot: Plot, terrain: Terrain) -> Filled:
    """Lawn with paths, groups of trees, benches, flower beds and a pavilion."""
    width, depth = plot.x1 - plot.x0, plot.y1 - plot.y0
    solids: list[Solid] = []
    strokes = [plot.lawn((0.38, 0.50, 0.24))]
    corner_a, corner_b = plot.from_crossing(-1.0, -1.0), plot.from_crossing(width + 1.0, depth + 1.0)
    length = float(np.hypot(corner_b[0] - corner_a[0], corner_b[1] - corner_a[1]))
    yaw = float(np.rad2deg(np.arctan2(corner_b[1] - corner_a[1], corner_b[0] - corner_a[0])))
    strokes.append(Stroke(Cover.GRAVEL, plot.x, plot.y, length / 2, 1.3, _PATH, yaw_deg=yaw, soft_m=0.3))
    strokes.append(Stroke(Cover.GRAVEL, plot.x, plot.y, length / 2, 1.1, _PATH, yaw_deg=-yaw, soft_m=0.3))
    strokes.append(Stroke(Cover.GRAVEL, plot.x, plot.y, 7.5, 7.5, _PATH, round=True, soft_m=0.3))
    strokes.append(Stroke(Cover.LAWN, plot.x, plot.y, 5.0, 5.0, (0.36, 0.50, 0.22), round=True, soft_m=0.3))
    for turn in range(6):
        angle = turn * np.pi / 3
        x, y = plot.x + 3.4 * float(np.cos(angle)), plot.y + 3.4 * float(np.sin(angle))
        rgb: Rgb = ((0.78, 0.25, 0.25), (0.85, 0.75, 0.25), (0.70, 0.45, 0.70))[turn % 3]
        strokes.append(Stroke(Cover.RUBBLE, x, y, 0.9, 0.9, rgb, round=True, soft_m=0.2))
    x, y = plot.from_crossing(width - 10.0, depth * 0.45)
    wood, slate = Skin(Material.PLAIN, (0.62, 0.50, 0.36)), Skin(Material.TILES, (0.40, 0.30, 0.26))
    ground = terrain.height(x, y)
    solids.append(block((x, y, ground + 1.0), (2.3, 2.3, 1.6), wood, seed=5))
    solids.append(block((x, y, ground + 3.5), (3.2, 3.2, 0.95), slate, taper=(0.97, 0.97)))
    placed: list[tuple[float, float]] = []
    for _ in range(400):
        if len(placed) >= 23:
            break
        x, y = float(rng.uniform(plot.x0 + 3, plot.x1 - 3)), float(rng.uniform(plot.y0 + 3, plot.y1 - 3))
        along_a = abs((x - plot.x) * np.sin(np.deg2rad(yaw)) - (y - plot.y) * np.cos(np.deg2rad(yaw)))
        along_b = abs((x - plot.x) * np.sin(np.deg2rad(-yaw)) - (y - plot.y) * np.cos(np.deg2rad(-yaw)))
        near = min((np.hypot(x - a, y - b) for a, b in placed), default=99.0)
        open_lawn = np.hypot(x - plot.x, y - (plot.y - plot.north * 12.0)) < 10.0
        if (
            near > 5.0
            and min(along_a, along_b) > 2.6
            and np.hypot(x - plot.x, y - plot.y) > 9.5
            and not open_lawn
        ):
            placed.append((x, y))
            grow = conifer if rng.random() < 0.2 else broadleaf
            solids += grow(rng, x, y, terrain.height(x, y), rng.uniform(6.5, 12.0))
    for _ in range(14):
        x, y = float(rng.uniform(plot.x0 + 1, plot.x1 - 1)), float(rng.choice([plot.y0 + 1.5, plot.y1 - 1.5]))
        solids += bush(rng, x, y, terrain.height(x, y), rng.uniform(0.9, 1.6))
    for turn in range(8):
        angle = (turn + 0.5) * np.pi / 4
        x, y = plot.x + 6.6 * float(np.cos(angle)), plot.y + 6.6 * float(np.sin(angle))
        seat = (x, y, terrain.height(x, y) + 0.35)
        solids.append(
            block(
                seat,
                (0.3, 0.9, 0.1),
                Skin(Material.PLAIN, (0.52, 0.34, 0.20)),
                yaw_deg=float(np.rad2deg(angle)),
            )
        )
    return solids, strokes


def fill_old_town(rng: np.random.Generator, plot: Plot, terrain: Terrain) -> Filled:
    """A church on its square, a market hall, a car park and old houses."""
    width, depth = plot.x1 - plot.x0, plot.y1 - plot.y0
    solids: list[Solid] = []
    strokes = [
        plot.lawn((0.41, 0.48, 0.27)),
        Stroke(Cover.PAVING, plot.x, plot.y, 0.5 * width, 0.27 * depth, (0.68, 0.63, 0.55)),
    ]
    x, y = plot.from_crossing(width * 0.40, depth * 0.50)
    solids += church(rng, Lot(x, y, 10.5, 5.4, 0.0 if plot.east < 0 else 180.0), "church")
    x, y = plot.from_crossing(width - 11.5, 9.5)
    solids += hall(rng, Lot(x, y, 10.0, 6.5, plot.facing_deg), 5.2, "hall")
    for along, away, half_x, half_y in (
        (6.5, 7.5, 5.2, 4.6),
        (18.5, 7.0, 5.6, 4.8),
        (7.0, depth - 6.5, 5.6, 4.7),
        (20.0, depth - 7.0, 5.0, 5.0),
    ):
        x, y = plot.from_crossing(along, away)
        eaves = rng.uniform(6.0, 8.6)
        turn = plot.facing_deg + (90.0 if rng.random() < 0.4 else 0.0)
        solids += gabled_house(
            rng,
            Lot(x, y, half_x, half_y, turn + rng.uniform(-3, 3)),
            eaves,
            eaves + rng.uniform(3.6, 4.8),
            "old house",
        )
    park_x, park_y = plot.from_crossing(width - 13.0, depth - 9.0)
    strokes.append(Stroke(Cover.ASPHALT, park_x, park_y, 11.5, 7.6, _ASPHALT))
    for bay in range(8):
        for row in (-1, 1):
            x, y = park_x - 9.5 + 2.7 * bay, park_y + row * 5.0
            strokes.append(Stroke(Cover.PAINT, x - 1.35, y, 0.06, 2.4, _WHITE, soft_m=0.05))
            if rng.random() < 0.6:
                solids += car(rng, x + rng.uniform(-0.15, 0.15), y, 0.0, 90.0 * row)
    for along, away in (
        (0.72, 0.44),
        (0.85, 0.42),
        (0.72, 0.60),
        (0.86, 0.60),
        (0.15, 0.33),
        (0.30, 0.70),
        (0.55, 0.32),
    ):
        x, y = plot.from_crossing(width * along, depth * away)
        solids += broadleaf(rng, x, y, terrain.height(x, y), rng.uniform(6, 9))
    for _ in range(5):  # market stalls
        x, y = plot.from_crossing(width * rng.uniform(0.66, 0.92), depth * rng.uniform(0.47, 0.56))
        cloth: Rgb = ((0.80, 0.22, 0.18), (0.90, 0.88, 0.82), (0.20, 0.42, 0.32))[int(rng.integers(3))]
        solids.append(
            block(
                (x, y, 2.3),
                (1.5, 1.2, 0.3),
                Skin(Material.PLAIN, cloth),
                yaw_deg=float(rng.uniform(-15, 15)),
                taper=(0.5, 0.9),
            )
        )
        solids.append(block((x, y, 0.5), (1.2, 0.8, 0.5), Skin(Material.PLAIN, (0.55, 0.45, 0.35)), seed=2))
    return solids, strokes

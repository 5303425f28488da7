"""What stands where: two streets that cross, four plots between them, lanes around, fields outside.

Metres east (x) and north (y) of the block's middle, heights above the level ground.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from anerf.scene.made.greenery import broadleaf, conifer, hedge
from anerf.scene.made.houses import DARK, STEEL, Lot, gabled_house, shed
from anerf.scene.made.plots import Plot, fill_apartments, fill_old_town, fill_park, fill_row_houses
from anerf.scene.made.shapes import Skin, Solid, block
from anerf.scene.made.strokes import Cover, Stroke
from anerf.scene.made.terrain import Hollow, Terrain
from anerf.scene.made.vehicles import car

HALF_BLOCK_M = 66.0
COUNTRY_M = 260.0  # how far the painted country reaches
MAIN_HALF_M, SIDE_HALF_M, LANE_HALF_M, PAVEMENT_M = 5.6, 4.4, 2.8, 2.4
_LANE_AT = HALF_BLOCK_M - LANE_HALF_M - PAVEMENT_M


@dataclass(frozen=True)
class Street:
    """A straight street along x (`along_x`) or y at the coordinate `at_m`."""

    along_x: bool
    at_m: float
    half_m: float

    def place(self, along_m: float, across_m: float) -> tuple[float, float]:
        """World x, y of a place given along the street and across it from its middle."""
        return (along_m, self.at_m + across_m) if self.along_x else (self.at_m + across_m, along_m)


@dataclass(frozen=True)
class City:
    """Everything a flight sees, and the places where the event may happen."""

    seed: int
    solids: tuple[Solid, ...]
    strokes: tuple[Stroke, ...]
    terrain: Terrain
    main: Street
    side: Street
    plots: tuple[Plot, ...]

    def plot(self, kind: str) -> Plot:
        """The plot used as `kind`."""
        return next(plot for plot in self.plots if plot.kind == kind)


_FILL: dict[str, Callable[[np.random.Generator, Plot, Terrain], tuple[list[Solid], list[Stroke]]]] = {
    "apartments": fill_apartments,
    "row_houses": fill_row_houses,
    "park": fill_park,
    "old_town": fill_old_town,
}


def make_city(seed: int) -> City:
    """The city of `seed`, before the event."""
    rng = np.random.default_rng([seed, 1])
    main = Street(True, float(rng.uniform(-4, 4)), MAIN_HALF_M)
    side = Street(False, float(rng.uniform(-5, 5)), SIDE_HALF_M)
    plots = _plots(rng, main, side)
    park = next(plot for plot in plots if plot.kind == "park")
    terrain = Terrain(_hollows(rng, park, main))
    solids: list[Solid] = []
    strokes = _country(rng) + _streets(main, side)
    for plot in plots:
        more_solids, more_strokes = _FILL[plot.kind](rng, plot, terrain)
        solids += more_solids
        strokes += more_strokes
    solids += _street_furniture(rng, main, side, terrain)
    solids += _outskirts(rng)
    return City(seed, tuple(solids), tuple(strokes), terrain, main, side, plots)


def _plots(rng: np.random.Generator, main: Street, side: Street) -> tuple[Plot, ...]:
    inner = _LANE_AT - LANE_HALF_M - PAVEMENT_M
    gap_x, gap_y = side.half_m + PAVEMENT_M, main.half_m + PAVEMENT_M
    kinds = [str(kind) for kind in rng.permutation(list(_FILL))]
    plots = []
    for kind, (east, north) in zip(kinds, ((1, 1), (-1, 1), (-1, -1), (1, -1)), strict=True):
        xs = sorted((side.at_m + east * gap_x, east * inner))
        ys = sorted((main.at_m + north * gap_y, north * inner))
        plots.append(Plot(kind, xs[0], ys[0], xs[1], ys[1], east, north))
    return tuple(plots)


def _hollows(rng: np.random.Generator, park: Plot, main: Street) -> tuple[Hollow, ...]:
    """A dip in the park that reaches the main street, where rain collects."""
    x = park.x + float(rng.uniform(-4, 4))
    y = park.y - park.north * 9.0
    return (
        Hollow(x, y, 1.3, (11.0, 9.0)),
        Hollow(x + park.east * 9.0, main.at_m + park.north * 1.0, 0.55, (15.0, 8.0)),
        Hollow(x - park.east * 8.0, y + park.north * 9.0, 0.5, (8.0, 7.0)),
    )


def _streets(main: Street, side: Street) -> list[Stroke]:
    asphalt, dark, paving, line = (
        (0.42, 0.42, 0.43),
        (0.36, 0.36, 0.37),
        (0.62, 0.60, 0.57),
        (0.86, 0.86, 0.84),
    )
    kerb = (0.72, 0.71, 0.68)
    lanes = [Street(along, sign * _LANE_AT, LANE_HALF_M) for along in (True, False) for sign in (-1, 1)]
    out: list[Stroke] = []

    def band(
        street: Street, cover: Cover, half_m: float, rgb: tuple[float, float, float], reach_m: float
    ) -> Stroke:
        half = (reach_m, half_m) if street.along_x else (half_m, reach_m)
        x, y = street.place(0.0, 0.0)
        return Stroke(cover, x, y, *half, rgb, soft_m=0.06)

    reach = _LANE_AT + LANE_HALF_M
    for street in (main, side, *lanes):
        out.append(band(street, Cover.PAVING, street.half_m + PAVEMENT_M, paving, reach + PAVEMENT_M))
    for street in (main, side, *lanes):
        out.append(band(street, Cover.PLAIN, street.half_m + 0.14, kerb, reach + 0.14))
    for street in (side, *lanes):
        out.append(band(street, Cover.ASPHALT, street.half_m, dark, reach))
    out.append(band(side, Cover.ASPHALT, 3.1, dark, COUNTRY_M))
    out.append(band(main, Cover.ASPHALT, 3.4, asphalt, COUNTRY_M))
    out.append(band(main, Cover.ASPHALT, main.half_m, asphalt, reach))

    def mark(
        street: Street, along_m: float, across_m: float, half_along_m: float, half_across_m: float
    ) -> None:
        half = (half_along_m, half_across_m) if street.along_x else (half_across_m, half_along_m)
        out.append(Stroke(Cover.PAINT, *street.place(along_m, across_m), *half, line, soft_m=0.05))

    for street, other, parking_m in ((main, side, 2.2), (side, main, 0.0)):
        clear = other.half_m + 5.5
        for along in np.arange(-150.0, 150.0, 6.0):
            if abs(along - other.at_m) > clear and not _LANE_AT - 5 < abs(along) < _LANE_AT + 4:
                mark(street, float(along), 0.0, 1.5, 0.09)
        for way in (-1, 1):
            for stripe in np.arange(-street.half_m + 0.6, street.half_m - 0.3, 1.0):  # zebra crossing
                mark(street, other.at_m + way * (other.half_m + 2.6), float(stripe), 1.5, 0.26)
            mark(
                street,
                other.at_m + way * (clear - 0.2),
                -way * street.half_m / 2,
                0.22,
                street.half_m / 2 - 0.3,
            )
        if parking_m:
            for way in (-1, 1):
                for along in np.arange(-54.0, 55.0, 5.6):
                    if abs(along - other.at_m) > clear + 1:
                        mark(street, float(along), way * (street.half_m - parking_m / 2), 0.06, parking_m / 2)
    return out


def _country(rng: np.random.Generator) -> list[Stroke]:
    """Fields, meadows and a farm track around the block."""
    out = [Stroke(Cover.LAWN, 0, 0, 2 * COUNTRY_M, 2 * COUNTRY_M, (0.43, 0.50, 0.27))]
    crops = (
        (0.62, 0.56, 0.35),
        (0.46, 0.52, 0.25),
        (0.52, 0.43, 0.31),
        (0.38, 0.47, 0.23),
        (0.68, 0.62, 0.40),
        (0.55, 0.56, 0.30),
    )
    edges = [-260.0, -185.0, -118.0, -69.5, 0.0, 69.5, 125.0, 190.0, 260.0]
    for west, east in pairwise(edges):
        for south, north in pairwise(edges):
            if (
                abs(west + east) < 139
                and abs(south + north) < 139
                and max(abs(west), abs(east), abs(south), abs(north)) < 70
            ):
                continue
            rgb = crops[int(rng.integers(len(crops)))]
            turn = 90.0 if rng.random() < 0.5 else 0.0
            half_x, half_y = (east - west) / 2 - 1.2, (north - south) / 2 - 1.2
            half_x, half_y = (half_y, half_x) if turn else (half_x, half_y)
            out.append(
                Stroke(
                    Cover.FIELD,
                    (west + east) / 2,
                    (south + north) / 2,
                    half_x,
                    half_y,
                    rgb,
                    yaw_deg=turn,
                    soft_m=0.8,
                )
            )
    return out


def _street_furniture(rng: np.random.Generator, main: Street, side: Street, terrain: Terrain) -> list[Solid]:
    """Parked and driving cars, street trees, lamp posts."""
    out: list[Solid] = []
    clear = side.half_m + 9.0
    for way in (-1, 1):
        for along in np.arange(-51.2, 54.0, 5.6):
            if abs(along - side.at_m) > clear and rng.random() < 0.62:
                x, y = main.place(float(along) + rng.uniform(-0.3, 0.3), way * (main.half_m - 1.15))
                out += car(rng, x, y, terrain.height(x, y), (0.0 if way < 0 else 180.0) + rng.uniform(-2, 2))
        for along in np.arange(-48.0, 55.0, 13.0):
            if abs(along - side.at_m) > clear - 3:
                x, y = main.place(float(along) + rng.uniform(-1.5, 1.5), way * (main.half_m + 1.1))
                out += broadleaf(
                    rng, x, y, terrain.height(x, y), rng.uniform(5.5, 8.0), group=f"tree {x:.0f} {y:.0f}"
                )
            x, y = main.place(float(along) + 6.0, way * (main.half_m + 0.4))
            out += _lamp(x, y, terrain.height(x, y), 90.0 * way)
    for street, lane_m, reach, n_cars in ((main, 1.6, 58.0, 3), (side, 2.0, 58.0, 4)):
        for _ in range(n_cars):
            way = 1 if rng.random() < 0.5 else -1
            x, y = street.place(float(rng.uniform(-reach, reach)), -way * lane_m)
            turn = 0.0 if way > 0 else 180.0
            if not street.along_x:
                x, turn = street.at_m + way * lane_m, turn + 90.0
            out += car(rng, x, y, terrain.height(x, y), turn)
    for along in np.arange(-50.0, 55.0, 15.0):
        x, y = side.place(float(along), side.half_m + 0.5)
        if abs(along - main.at_m) > 9:
            out += _lamp(x, y, terrain.height(x, y), 180.0)
    return out


def _lamp(x: float, y: float, ground_m: float, yaw_deg: float) -> list[Solid]:
    lot = Lot(x, y, 1.0, 0.1, yaw_deg)
    head = Skin(DARK.material, (0.35, 0.36, 0.38))
    return [
        block((x, y, ground_m + 2.9), (0.09, 0.09, 3.1), STEEL),
        block((*lot.at(0.5, 0.0), ground_m + 6.0), (0.75, 0.12, 0.06), head, yaw_deg=yaw_deg),
    ]


def _outskirts(rng: np.random.Generator) -> list[Solid]:
    """Hedgerows, scattered trees and two farmsteads outside the lanes."""
    out: list[Solid] = []
    for at in (-69.5, 69.5):
        for along_x in (True, False):
            for start in np.arange(-110.0, 110.0, 11.0):
                if abs(start + 5) < 14 or rng.random() < 0.35:
                    continue
                a, b = (float(start), at), (float(start) + 10.0, at)
                out += hedge(rng, a if along_x else (a[1], a[0]), b if along_x else (b[1], b[0]), 0.0)
                if rng.random() < 0.45:
                    x, y = (a[0] + 5, at + np.sign(at) * 3) if along_x else (at + np.sign(at) * 3, a[0] + 5)
                    out += broadleaf(rng, float(x), float(y), 0.0, rng.uniform(6, 10))
    for _ in range(26):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(85, 150)
        x, y = float(reach * np.cos(angle)), float(reach * np.sin(angle))
        if max(abs(x), abs(y)) > 76 and min(abs(x), abs(y)) > 14:
            out += (conifer if rng.random() < 0.35 else broadleaf)(rng, x, y, 0.0, rng.uniform(7, 12))
    for x, y in (
        (88.0, 30.0 + rng.uniform(-5, 5)),
        (-92.0, -36.0 + rng.uniform(-5, 5)),
        (34.0, 92.0),
        (-30.0, -90.0),
    ):
        out += gabled_house(rng, Lot(x, y, 7.5, 5.0, float(rng.choice([0, 90]))), 4.6, 8.6, "farm")
        out += shed(rng, Lot(x + 14, y - 6, 4.5, 3.0, float(rng.uniform(-10, 10))))
        out += broadleaf(rng, x - 11, y + 8, 0.0, 10.0)
    return out

"""Cars, vans and lorries."""

import numpy as np

from anerf.scene.made.houses import Lot, on_lot
from anerf.scene.made.shapes import Material, Rgb, Skin, Solid, block

_PAINT: tuple[Rgb, ...] = (
    (0.86, 0.87, 0.88), (0.14, 0.14, 0.16), (0.52, 0.54, 0.56), (0.30, 0.33, 0.37), (0.60, 0.12, 0.11),
    (0.15, 0.25, 0.48), (0.72, 0.74, 0.75), (0.13, 0.27, 0.22), (0.76, 0.64, 0.28), (0.08, 0.09, 0.14),
)  # fmt: skip
_TYRE = Skin(Material.PLAIN, (0.09, 0.09, 0.09))
_GLASS = Skin(Material.CAR_GLASS, (0.12, 0.15, 0.19))


def car(
    rng: np.random.Generator, x: float, y: float, ground_m: float, yaw_deg: float, group: str = ""
) -> list[Solid]:
    """A saloon, an estate or a van, front towards `yaw_deg`."""
    paint = Skin(Material.CAR_PAINT, _PAINT[int(rng.integers(len(_PAINT)))])
    lot = Lot(x, y, 2.15, 0.88, yaw_deg)
    body = (_GLASS, _GLASS, paint)
    kind = rng.random()
    parts = [on_lot(lot, 0, 0, (2.0, 0.82, 0.2), ground_m, _TYRE, group=group)]
    if kind < 0.15:
        parts += [
            on_lot(lot, 0, 0, (2.5, 0.95, 0.45), ground_m + 0.3, paint, group=group),
            on_lot(
                lot,
                -0.2,
                0,
                (2.25, 0.93, 0.5),
                ground_m + 1.2,
                (_GLASS, paint, paint),
                taper=(0.15, 0.1),
                group=group,
            ),
        ]
        return parts
    long = kind < 0.5
    parts += [
        on_lot(lot, 0, 0, (2.15, 0.88, 0.32), ground_m + 0.28, paint, taper=(0.04, 0.06), group=group),
        on_lot(
            lot,
            -0.55 if long else -0.25,
            0,
            (1.5 if long else 1.2, 0.8, 0.3),
            ground_m + 0.91,
            body,
            taper=(0.25, 0.16),
            group=group,
        ),
    ]
    return parts


def overturned_lorry(x: float, y: float, ground_m: float, yaw_deg: float, group: str = "") -> list[Solid]:
    """A box lorry on its side, wheels facing sideways."""
    box = Skin(Material.PLAIN, (0.80, 0.78, 0.72))
    cab = Skin(Material.CAR_PAINT, (0.70, 0.20, 0.12))
    lot = Lot(x, y, 4.0, 1.4, yaw_deg)
    front = (*lot.at(3.3, 0.1), ground_m + 1.1)
    return [
        block((*lot.at(-0.6, 0), ground_m + 1.25), (2.9, 1.35, 1.25), box, yaw_deg=yaw_deg, group=group),
        block(front, (0.9, 1.0, 1.1), (_GLASS, cab, cab), yaw_deg=yaw_deg + 8, roll_deg=4, group=group),
        on_lot(lot, 0, 1.6, (3.7, 0.4, 1.0), ground_m + 0.1, _TYRE, group=group),
    ]

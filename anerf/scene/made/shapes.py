"""Solids that the made city is built from, and where rays enter them.

Everything standing is one of two shapes in its own unit frame: an ellipsoid (the unit ball), or a block (the
cube [-1, 1]^3 whose sides may lean inwards towards the top, which gives boxes, gabled and hipped roofs,
spires and car cabins). A `SolidTable` holds many of them as tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Rgb = tuple[float, float, float]
Xyz = tuple[float, float, float]

_PARALLEL = 1e-12  # stands for a zero slope, so that divisions stay finite


class Material(IntEnum):
    """What a face is made of; `materials.py` knows how each looks."""

    PLAIN = 0
    FACADE = 1
    BRICK_FACADE = 2
    TILES = 3
    FLAT_ROOF = 4
    METAL_ROOF = 5
    LEAVES = 6
    BARK = 7
    CAR_PAINT = 8
    CAR_GLASS = 9
    RUBBLE = 10
    NEEDLES = 11


@dataclass(frozen=True)
class Skin:
    """Material and base colour (sRGB in [0, 1]) of a pair of opposite faces."""

    material: Material
    rgb: Rgb


@dataclass(frozen=True)
class Solid:
    """One ellipsoid or block: `half_m` are half axes, `turn_deg` yaw, pitch and roll, `taper` how far the
    x and y sides lean in at the top (0 upright, 1 meeting in a ridge). `skins` clothe the x, y and z faces.
    `heart` is the middle of the crown that a clump of leaves belongs to."""

    shape: str
    center: Xyz
    half_m: Xyz
    skins: tuple[Skin, Skin, Skin]
    turn_deg: Xyz = (0.0, 0.0, 0.0)
    taper: tuple[float, float] = (0.0, 0.0)
    seed: float = 0.0
    group: str = ""
    heart: Xyz | None = None


def block(
    center: Xyz,
    half_m: Xyz,
    skins: Skin | tuple[Skin, Skin, Skin],
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
    taper: tuple[float, float] = (0.0, 0.0),
    seed: float = 0.0,
    group: str = "",
) -> Solid:
    """A block; one skin clothes all faces."""
    clothes = (skins, skins, skins) if isinstance(skins, Skin) else skins
    return Solid("block", center, half_m, clothes, (yaw_deg, pitch_deg, roll_deg), taper, seed, group)


def ellipsoid(
    center: Xyz,
    half_m: Xyz,
    skin: Skin,
    *,
    yaw_deg: float = 0.0,
    seed: float = 0.0,
    group: str = "",
    heart: Xyz | None = None,
) -> Solid:
    """An ellipsoid with the half axes `half_m`."""
    turn = (yaw_deg, 0.0, 0.0)
    return Solid("ellipsoid", center, half_m, (skin, skin, skin), turn, (0.0, 0.0), seed, group, heart)


def rotation(turn_deg: Xyz) -> np.ndarray:
    """Rotation (3, 3), local to world: roll about x, then pitch about y, then yaw about z."""
    yaw, pitch, roll = (math.radians(angle) for angle in turn_deg)
    cz, sz, cy, sy, cx, sx = (
        math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll),
    )  # fmt: skip
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    about_y = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    about_x = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return about_z @ about_y @ about_x


def linear_from_srgb(srgb: np.ndarray) -> np.ndarray:
    """Linear light for sRGB values in [0, 1], any shape."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class SolidTable:
    """Many solids as tensors; rows keep the order of the list they were made from."""

    center: Float[Tensor, "p 3"]
    to_unit: Float[Tensor, "p 3 3"]
    half_m: Float[Tensor, "p 3"]
    taper: Float[Tensor, "p 2"]
    is_block: Bool[Tensor, " p"]
    material: Int[Tensor, "p 3"]
    albedo: Float[Tensor, "p 3 3"]
    seed: Float[Tensor, " p"]
    heart: Float[Tensor, "p 3"]

    def __len__(self) -> int:
        return self.center.shape[0]


def solid_table(solids: Sequence[Solid]) -> SolidTable:
    """The tensors of `solids`, colours turned from sRGB into linear albedo."""
    half = np.array([solid.half_m for solid in solids], dtype=np.float64).reshape(-1, 3)
    turns = np.array([rotation(solid.turn_deg) for solid in solids], dtype=np.float64).reshape(-1, 3, 3)
    to_unit = turns.transpose(0, 2, 1) / half[:, :, None]
    colours = np.array([[skin.rgb for skin in solid.skins] for solid in solids]).reshape(-1, 3, 3)

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32))

    return SolidTable(
        center=tensor(np.array([solid.center for solid in solids]).reshape(-1, 3)),
        to_unit=tensor(to_unit),
        half_m=tensor(half),
        taper=tensor(np.array([solid.taper for solid in solids]).reshape(-1, 2)),
        is_block=torch.tensor([solid.shape == "block" for solid in solids], dtype=torch.bool),
        material=torch.tensor([[skin.material for skin in s.skins] for s in solids]).reshape(-1, 3),
        albedo=tensor(linear_from_srgb(colours)),
        seed=tensor([solid.seed for solid in solids]),
        heart=tensor(np.array([solid.heart or solid.center for solid in solids]).reshape(-1, 3)),
    )


def enter_ellipsoids(o: tuple[Tensor, Tensor, Tensor], d: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Where rays enter the unit ball; `o`, `d` are the x, y, z parts in the unit frame, broadcast together.

    Returns t in the length of `d`, infinite where the ray misses or starts inside.
    """
    ox, oy, oz = o
    dx, dy, dz = d
    inverse = 1.0 / (dx * dx + dy * dy + dz * dz)
    t_mid = -(ox * dx + oy * dy + oz * dz) * inverse
    # The foot of the perpendicular keeps float32 exact where b^2 - ac would cancel.
    qx, qy, qz = ox + t_mid * dx, oy + t_mid * dy, oz + t_mid * dz
    inside = 1.0 - (qx * qx + qy * qy + qz * qz)
    t = t_mid - torch.sqrt(inside.clamp_min(0.0) * inverse)
    return torch.where((inside > 0.0) & (t > 0.0), t, math.inf)


def enter_blocks(
    o: tuple[Tensor, Tensor, Tensor], d: tuple[Tensor, Tensor, Tensor], taper: tuple[Tensor, Tensor]
) -> Tensor:
    """Where rays enter unit blocks with `taper` of their x and y sides; else as `enter_ellipsoids`."""
    ox, oy, oz = o
    dx, dy, dz = d
    flat = torch.where(dz == 0.0, _PARALLEL, dz)
    to_bottom, to_top = (-1.0 - oz) / flat, (1.0 - oz) / flat
    t_near, t_far = torch.minimum(to_bottom, to_top), torch.maximum(to_bottom, to_top)
    for position, slope, lean in ((ox, dx, taper[0]), (oy, dy, taper[1])):
        lean_half = 0.5 * lean
        room = 1.0 - lean_half - lean_half * oz
        drift = lean_half * dz
        for sign in (1.0, -1.0):
            rate = sign * slope + drift
            rate = torch.where(rate == 0.0, _PARALLEL, rate)
            t = (room - sign * position) / rate
            t_near = torch.where(rate < 0.0, torch.maximum(t_near, t), t_near)
            t_far = torch.where(rate > 0.0, torch.minimum(t_far, t), t_far)
    return torch.where((t_near < t_far) & (t_near > 0.0), t_near, math.inf)


@dataclass(frozen=True)
class Contacts:
    """Where rays met solids: position in the solid's frame in metres, outward normal, face index."""

    local_m: Float[Tensor, "n 3"]
    normal: Float[Tensor, "n 3"]
    face: Int[Tensor, " n"]


def contacts(table: SolidTable, solid: Int[Tensor, " n"], points: Float[Tensor, "n 3"]) -> Contacts:
    """Contacts of `points` on the surfaces of rows `solid`; an ellipsoid's face is the nearest axis."""
    to_unit = table.to_unit[solid]
    unit = torch.einsum("nij,nj->ni", to_unit, points - table.center[solid])
    lean = 0.5 * table.taper[solid]
    rise = lean * unit[:, 2:3] + lean  # how far the x and y sides have come in at this height
    height = unit[:, 2]
    over = torch.stack(
        (
            unit[:, 0] + rise[:, 0], rise[:, 0] - unit[:, 0],
            unit[:, 1] + rise[:, 1], rise[:, 1] - unit[:, 1],
            height, -height,
        ),
        dim=1,
    )  # fmt: skip
    face = over.argmax(dim=1)
    axis, sign = face // 2, 1.0 - 2.0 * (face % 2)
    gradient = torch.zeros_like(unit).scatter_(1, axis[:, None], sign[:, None])
    sloped = torch.where(axis == 0, lean[:, 0], torch.where(axis == 1, lean[:, 1], 0.0))
    gradient[:, 2] += sloped
    gradient = torch.where(table.is_block[solid][:, None], gradient, unit)
    normal = torch.nn.functional.normalize(torch.einsum("nij,ni->nj", to_unit, gradient), dim=1)
    return Contacts(unit * table.half_m[solid], normal, face)

"""A city made ready for tracing: tensors of its solids, painted ground, light."""

from dataclasses import dataclass

from anerf.scene.made.city import COUNTRY_M, City
from anerf.scene.made.light import Light, Sun, make_light
from anerf.scene.made.shapes import SolidTable, solid_table
from anerf.scene.made.strokes import Canvas, Stroke, paint
from anerf.scene.made.terrain import Terrain

NEAR_CANVAS_M = 76.0


@dataclass(frozen=True)
class Detail:
    """How finely shared maps are made: ground texels near and far, shadow texels, all in metres."""

    near_texel_m: float = 0.12
    far_texel_m: float = 0.5
    shadow_texel_m: float = 0.2


@dataclass(frozen=True)
class World:
    """Everything that decides what a ray sees."""

    strokes: tuple[Stroke, ...]
    table: SolidTable
    terrain: Terrain
    near_ground: Canvas
    far_ground: Canvas
    light: Light


def build_world(city: City, detail: Detail, sun: Sun, like: World | None = None) -> World:
    """The world of `city` under `sun`; ground that `like`, of the same detail, has painted is reused."""
    table = solid_table(city.solids)
    n_shared = 0
    if like is not None and city.strokes[: len(like.strokes)] == like.strokes:
        n_shared = len(like.strokes)
    near, far = (like.near_ground, like.far_ground) if like is not None and n_shared else (None, None)
    fresh = city.strokes[n_shared:]
    return World(
        city.strokes,
        table,
        city.terrain,
        paint(fresh, NEAR_CANVAS_M, detail.near_texel_m, under=near),
        paint(fresh, COUNTRY_M, detail.far_texel_m, hole_m=NEAR_CANVAS_M - 2.0, under=far),
        make_light(table, city.terrain, sun, detail.shadow_texel_m),
    )

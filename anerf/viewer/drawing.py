"""From what a client wants to see to a picture with its legend: the models in, coloured pixels out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from anerf.geometry.cameras import Camera
from anerf.products.colormap import (
    COLORED_OPACITY,
    MAGMA,
    VIRIDIS,
    Ramp,
    depth_range_m,
    expert_picture,
    normal_picture,
    opacity_picture,
    to_uint8,
)
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from anerf.render.view import Picture
from anerf.viewer.choices import Appearance, Background, RampName, View
from anerf.viewer.layer_colors import NOTHING_RGB, exposed_by, view_normals

COARSE_SAMPLES = 8
RAMPS: dict[RampName, Ramp] = {
    "viridis": VIRIDIS,
    "magma": MAGMA,
    "grey": Ramp("grey", ("101012", "f4f4f4")),
}
_BACKGROUNDS: dict[Background, str] = {"black": "0,0,0", "white": "1,1,1", "grey": "0.2,0.2,0.2"}
_SEAM_RGB = (255, 255, 255)
_LEAST_DIFFERENCE = 0.05


@dataclass(frozen=True)
class Legend:
    """What colours mean: a ramp from `low` to `high` of `unit`, or the experts that are shown, or words."""

    title: str
    ramp: Ramp | None = None
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    experts: tuple[int, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Shown:
    """The models that a client looks at; `before` where it compares."""

    after: SceneModel
    before: SceneModel | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture to look at, and what its colours mean; `is_final` where none better of its view will come."""

    colors: UInt8[np.ndarray, "h w 3"]
    legend: Legend | None = None
    is_final: bool = False


def draw(
    shown: Shown, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]
) -> Drawing:
    """Render and colour a view.

    Raises:
        InputError: the view asks for something that the models do not have.
        JobCancelled: `should_stop` said so.
    """
    drawing = _drawn(shown, view, width_px, is_coarse, should_stop)
    return replace(drawing, is_final=not is_coarse and width_px >= view.full_width_px)


def _drawn(
    shown: Shown, view: View, width_px: int, is_coarse: bool, should_stop: Callable[[], bool]
) -> Drawing:
    camera, look = view.camera(width_px), view.choices.appearance

    def seen(model: SceneModel, camera: Camera) -> Picture:
        return _render(model, camera, view, is_coarse, should_stop)

    before = shown.before
    mode = view.choices.times.mode if before is not None else "after"
    if before is not None and mode == "difference":
        return difference(seen(before, camera), seen(shown.after, camera), look)
    if before is not None and mode == "wipe":
        at = min(max(round(camera.width * view.choices.times.share), 0), camera.width)
        parts = [(before, 0, at), (shown.after, at, camera.width)]
        pictures = [seen(model, columns(camera, lo, hi)) for model, lo, hi in parts if hi > lo]
        drawing = paint(side_by_side(pictures), camera, view)
        if 0 < at < camera.width:
            drawing.colors[:, max(0, at - 1) : at + 1] = _SEAM_RGB
        return drawing
    return paint(
        seen(before if before is not None and mode == "before" else shown.after, camera), camera, view
    )


def paint(picture: Picture, camera: Camera, view: View) -> Drawing:
    """The chosen layer of a picture in colours."""
    look = view.choices.appearance
    match look.layer:
        case "rgb":
            return Drawing(to_uint8(exposed_by(picture.rgb, look.exposure_ev)))
        case "depth":
            low, high = look.range_m or depth_range_m(picture.depth_m, picture.opacity)
            colors = RAMPS[look.ramp]((picture.depth_m - low) / (high - low))
            colors[picture.opacity < COLORED_OPACITY] = NOTHING_RGB
            return Drawing(colors, Legend("Depth along the ray", RAMPS[look.ramp], low, high, "m"))
        case "opacity":
            return Drawing(opacity_picture(picture.opacity), Legend("Opacity", RAMPS["grey"]))
        case "expert":
            shown = tuple(int(expert) for expert in np.unique(picture.expert) if expert >= 0)
            return Drawing(expert_picture(picture.expert), Legend("Experts", experts=shown))
        case "normals":
            normals = view_normals(camera, view.c2w, picture)
            words = "red: faces east, green: north, blue: up"
            return Drawing(normal_picture(normals), Legend("Normals", words=words))


def difference(before: Picture, after: Picture, look: Appearance) -> Drawing:
    """By how much two pictures of a view differ: in metres where depth is chosen, else in colour."""
    if look.layer == "depth":
        both = (before.opacity >= COLORED_OPACITY) & (after.opacity >= COLORED_OPACITY)
        change = np.where(both, np.abs(after.depth_m - before.depth_m), 0.0)
        high = look.range_m[1] if look.range_m else max(1.0, _high(change))
        legend = Legend("Change of depth", MAGMA, 0.0, high, "m")
    else:
        change = np.abs(after.rgb - before.rgb).mean(axis=-1)
        high = max(_LEAST_DIFFERENCE, _high(change))
        legend = Legend("Change of colour, of full scale", MAGMA, 0.0, 100 * high, "%")
    return Drawing(MAGMA(change / high), legend)


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures of the same height as one, from left to right."""
    if len(pictures) == 1:
        return pictures[0]
    rgb, depth_m, opacity, expert = (
        np.concatenate([getattr(picture, name) for picture in pictures], axis=1)
        for name in ("rgb", "depth_m", "opacity", "expert")
    )
    return Picture(rgb, depth_m, opacity, expert)


def columns(camera: Camera, first: int, end: int) -> Camera:
    """The part of a pinhole camera's picture from one column to another (exclusive)."""
    fx, fy, cx, cy = camera.params
    return Camera(camera.model, end - first, camera.height, (fx, fy, cx - first, cy))


def _render(
    model: SceneModel, camera: Camera, view: View, is_coarse: bool, should_stop: Callable[[], bool]
) -> Picture:
    wanted = view.choices
    samples = min(wanted.quality.samples, COARSE_SAMPLES) if is_coarse else wanted.quality.samples
    return render_picture(
        on_background(model, wanted.appearance.background),
        camera,
        view.c2w,
        samples=samples,
        flight=wanted.flight if wanted.flight in model.flights else None,
        only_expert=wanted.expert,
        near_m=wanted.appearance.near_m,
        far_m=wanted.appearance.far_m,
        should_stop=should_stop,
    )


def on_background(model: SceneModel, background: Background) -> SceneModel:
    """The same scene before another background."""
    if background == "learned":
        return model
    return replace(model, spec=replace(model.spec, background=_BACKGROUNDS[background]))


def _high(change: Float[np.ndarray, "h w"]) -> float:
    return float(np.percentile(change, 99))

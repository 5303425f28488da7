"""What of the scene is coloured, and how: layer, colour map and legend, light, background, near and far."""

import html
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import viser

from anerf.products.colormap import Ramp
from anerf.viewer.choices import Appearance, Background, RampName, ShownLayer
from anerf.viewer.drawing import RAMPS, Legend
from anerf.viewer.layer_colors import expert_rgb

LAYERS: dict[str, ShownLayer] = {
    "colour": "rgb",
    "depth": "depth",
    "opacity": "opacity",
    "experts": "expert",
    "normals": "normals",
}
_BACKGROUNDS: tuple[Background, ...] = ("learned", "black", "white", "grey")
_N_STOPS = 12
_BLOCK = '<div style="padding:2px 12px 6px;font-size:12px;line-height:1.5">{}</div>'


class LayersPanel:
    """Says how pictures are coloured, and shows what the colours mean. `farthest_m` bounds near and far."""

    def __init__(self, gui: viser.GuiApi, farthest_m: float) -> None:
        self._farthest_m = farthest_m
        self._layer = gui.add_dropdown("Layer", tuple(LAYERS), initial_value="colour")
        self._legend = gui.add_html("", visible=False)
        with gui.add_folder("Colours and light", expand_by_default=False):
            self._ramp = gui.add_dropdown("Colour map", tuple(RAMPS), initial_value="viridis")
            self._is_fixed = gui.add_checkbox(
                "Fixed depth range", False, hint="Else the colours span what the picture shows"
            )
            top = _round_up(farthest_m)
            self._range = gui.add_multi_slider(
                "Range (m)", min=0.0, max=top, step=top / 400, initial_value=(0.0, top), visible=False
            )
            self._exposure = gui.add_slider(
                "Exposure (stops)", min=-3.0, max=3.0, step=0.25, initial_value=0.0
            )
            self._background = gui.add_dropdown("Background", _BACKGROUNDS, initial_value="learned")
            self._clip = gui.add_multi_slider(
                "Near, far (m)",
                min=0.0,
                max=top,
                step=top / 400,
                initial_value=(0.0, top),
                hint="Nothing nearer or farther along the ray is drawn",
            )

    @property
    def appearance(self) -> Appearance:
        """What is chosen now."""
        low, high = self._range.value
        near, far = self._clip.value
        return Appearance(
            layer=LAYERS[self._layer.value],
            ramp=cast(RampName, self._ramp.value),
            range_m=(low, max(high, low + 0.1)) if self._is_fixed.value else None,
            exposure_ev=float(self._exposure.value),
            background=cast(Background, self._background.value),
            near_m=float(near),
            far_m=math.inf if far >= self._clip.max else max(float(far), float(near) + 0.1),
        )

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every choice."""

        def fixed(_: object) -> None:
            self._range.visible = self._is_fixed.value
            changed()

        self._is_fixed.on_update(fixed)
        for control in (
            self._layer,
            self._ramp,
            self._range,
            self._exposure,
            self._background,
            self._clip,
        ):
            control.on_update(lambda _: changed())

    def show(self, legend: Legend | None) -> None:
        """Show what the colours of the last picture mean."""
        text = "" if legend is None else legend_html(legend)
        if self._legend.content != text:
            self._legend.content = text
        if self._legend.visible != (legend is not None):
            self._legend.visible = legend is not None


def legend_html(legend: Legend) -> str:
    """A legend as HTML: a ramp with numbers, the experts' colours, or words."""
    parts = [f'<div style="font-weight:600">{html.escape(legend.title)}</div>']
    if legend.ramp is not None:
        unit = f" {legend.unit}" if legend.unit else ""
        middle = (legend.low + legend.high) / 2
        numbers = [f"{number(value)}{html.escape(unit)}" for value in (legend.low, middle, legend.high)]
        parts.append(f'<div style="height:12px;border-radius:3px;background:{gradient(legend.ramp)}"></div>')
        spans = "".join(f"<span>{text}</span>" for text in numbers)
        parts.append(f'<div style="display:flex;justify-content:space-between">{spans}</div>')
    if legend.experts:
        parts.append(_chips(legend.experts))
    if legend.words:
        parts.append(f"<div>{html.escape(legend.words)}</div>")
    return _BLOCK.format("".join(parts))


def experts_legend(experts: tuple[int, ...]) -> str:
    """Which colour stands for which expert, as HTML."""
    return _BLOCK.format(_chips(experts))


def _chips(experts: tuple[int, ...]) -> str:
    chips = "".join(
        '<span style="display:inline-block;margin:0 10px 2px 0"><span style="display:inline-block;width:12px;'
        f'height:12px;border-radius:3px;margin-right:5px;vertical-align:-1px;background:rgb{expert_rgb(i)}">'
        f"</span>{i}</span>"
        for i in experts[:64]
    )
    return f"<div>{chips}</div>"


def gradient(ramp: Ramp) -> str:
    """The ramp as a CSS gradient."""
    colors = ramp(np.linspace(0, 1, _N_STOPS, dtype=np.float32))
    stops = ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in colors.tolist())
    return f"linear-gradient(to right, {stops})"


def number(value: float) -> str:
    """A value with as many decimals as a legend needs."""
    decimals = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 1 else 2
    return f"{value:.{decimals}f}"


def _round_up(value_m: float) -> float:
    step = 10.0 ** math.floor(math.log10(value_m)) / 2
    return math.ceil(value_m / step) * step

"""The controls beside the picture, one set a client."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser

from anerf.products.colormap import VIRIDIS, Range
from anerf.products.layers import Layer
from anerf.viewer.scene_nodes import Part, split_words
from anerf.viewer.surroundings import Surroundings

ALL_EXPERTS = "all"
_LAYERS: dict[str, Layer] = {"colour": "rgb", "depth": "depth", "opacity": "opacity"}
_LEGEND_SIZE_PX = (256, 12)


@dataclass(frozen=True)
class Choices:
    """What a client has chosen; `expert` None means all, `flight` None the first."""

    layer: Layer
    expert: int | None
    flight: str | None
    samples: int
    width_px: int


class Panel:
    """Layer, expert, flight, quality, scene and camera buttons; status and depth legend below."""

    def __init__(
        self,
        gui: viser.GuiApi,
        title: str,
        experts: tuple[str, ...],
        flights: tuple[str, ...],
        samples: int,
        surroundings: Surroundings,
    ) -> None:
        gui.configure_theme(control_layout="collapsible", show_logo=False, show_share_button=False)
        gui.set_panel_label(title)
        self._layer = gui.add_dropdown("Layer", tuple(_LAYERS), initial_value="colour")
        names = (ALL_EXPERTS, *(f"expert {name}" for name in experts))
        self._expert = gui.add_dropdown("Experts", names, initial_value=ALL_EXPERTS)
        self._experts = {name: i - 1 for i, name in enumerate(names)}
        flight_hint = "Whose look to show: season, light and what an event has changed"
        self._flight = (
            gui.add_dropdown("Flight", flights, initial_value=flights[0], hint=flight_hint)
            if flights
            else None
        )
        self._samples = gui.add_slider(
            "Samples a ray",
            min=4,
            max=max(64, samples),
            step=4,
            initial_value=samples,
            hint="More is finer and slower",
        )
        self._width = gui.add_slider(
            "Width at rest",
            min=128,
            max=1280,
            step=64,
            initial_value=512,
            hint="Pixels of the finished picture",
        )
        self._parts = _scene_folder(gui, surroundings)
        self._look = gui.add_button_group("Look", ("oblique", "from above"))
        self._status = gui.add_markdown("")
        self._legend = gui.add_image(_legend_picture(), label="Depth", format="png", visible=False)
        self._legend_text = gui.add_markdown("", visible=False)

    @property
    def choices(self) -> Choices:
        """What is chosen now."""
        expert = self._experts[self._expert.value]
        return Choices(
            layer=_LAYERS[self._layer.value],
            expert=None if expert < 0 else expert,
            flight=self._flight.value if self._flight else None,
            samples=int(self._samples.value),
            width_px=int(self._width.value),
        )

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after a choice that changes the picture."""
        for control in (self._layer, self._expert, self._flight, self._samples, self._width):
            if control is not None:
                control.on_update(lambda _: changed())

    def on_part(self, show: Callable[[Part, bool], None]) -> None:
        """Call `show` when a part of the scene is switched on or off."""
        for part, box in self._parts.items():
            box.on_update(lambda _, part=part, box=box: show(part, box.value))

    def on_look(self, look: Callable[[str], None]) -> None:
        """Call `look` with "oblique" or "from above" when one of the buttons is pressed."""
        self._look.on_click(lambda _: look(self._look.value))

    def say(self, text: str, range_m: Range | None) -> None:
        """Show the status; with `range_m` also the legend of the depth colours."""
        self._status.content = text
        self._legend.visible = self._legend_text.visible = range_m is not None
        if range_m is not None:
            self._legend_text.content = f"{range_m[0]:.1f} m to {range_m[1]:.1f} m along the ray"


def _scene_folder(gui: viser.GuiApi, surroundings: Surroundings) -> dict[Part, viser.GuiCheckboxHandle]:
    """Checkboxes for what the scene's files say; what is not there cannot be switched on."""
    here = bool(surroundings.frames)
    cameras = f"Cameras: {split_words(surroundings.splits)}"
    with gui.add_folder("Scene"):
        parts: dict[Part, viser.GuiCheckboxHandle] = {
            "experts": gui.add_checkbox(
                "Experts' boxes", False, hint="What each expert's rays meet, and the scene's box"
            ),
            "cameras": gui.add_checkbox(
                "Cameras", False, disabled=not here, hint="Where photographs were taken"
            ),
            "points": gui.add_checkbox(
                "Points", False, disabled=not len(surroundings.points_xyz), hint="The survey's sparse points"
            ),
        }
        gui.add_markdown(cameras if surroundings.missing is None else surroundings.missing)
    return parts


def _legend_picture() -> np.ndarray:
    width, height = _LEGEND_SIZE_PX
    return VIRIDIS(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))

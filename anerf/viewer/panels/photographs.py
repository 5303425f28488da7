"""The survey's photographs: fly to where one was taken, and see it beside the same view rendered."""

from collections.abc import Callable

import numpy as np
import viser
from jaxtyping import UInt8

from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.frames import Frame
from anerf.viewer.picking import place_words
from anerf.viewer.surroundings import Surroundings

_NONE = "none"
_MOST_NAMES = 1000
_BLANK = np.zeros((2, 2, 3), np.uint8)


class PhotographsPanel:
    """Chooses a photograph by name, by its neighbour, or from a click on its camera."""

    def __init__(self, gui: viser.GuiApi, surroundings: Surroundings, reference: GeodeticReference) -> None:
        self._reference = reference
        frames = sorted(
            surroundings.frames, key=lambda frame: (surroundings.splits.index(frame.split), frame.id)
        )
        self._all = {_name_of(frame): frame for frame in frames}
        self._offered = list(self._all)[:: max(1, -(-len(frames) // _MOST_NAMES))]
        self._fly: Callable[[Frame], None] = lambda _: None
        self._name = gui.add_dropdown(
            "Photograph", (_NONE, *self._offered), initial_value=_NONE, disabled=not frames
        )
        self._turn = gui.add_button_group("Next", ("previous", "next", "fly there"), disabled=not frames)
        self._text = gui.add_markdown("", visible=False)
        self._photograph = gui.add_image(_BLANK, label="Photograph", format="jpeg", visible=False)
        self._render = gui.add_image(_BLANK, label="Rendered", format="jpeg", visible=False)

    def on_fly(self, fly: Callable[[Frame], None]) -> None:
        """Call `fly` with the photograph that was chosen."""

        def turn(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            names, shown = self._offered, self._name.value
            at = names.index(shown) if shown in names else -1
            move = {"previous": -1, "next": 1}.get(event.target.value, 0)
            name = names[(max(at, 0) if move == 0 or at < 0 else at + move) % len(names)]
            if name != shown:
                self._name.value = name  # its own callback flies
            else:
                fly(self._all[name])

        def chosen(_: object) -> None:
            frame = self._all.get(self._name.value)
            if frame is not None:
                fly(frame)
            else:
                self.hide()

        self._fly = fly
        self._turn.on_click(turn)
        self._name.on_update(chosen)

    def choose(self, frame: Frame) -> None:
        """A camera was clicked."""
        name = _name_of(frame)
        if name == self._name.value:
            self._fly(frame)
            return
        if name not in self._offered:  # of very many, not all are
            offered = {name, *self._offered}
            self._offered = [known for known in self._all if known in offered]
            self._name.options = (_NONE, *self._offered)
        self._name.value = name  # its own callback flies

    def show(
        self,
        frame: Frame,
        photograph: UInt8[np.ndarray, "h w 3"],
        render: UInt8[np.ndarray, "h w 3"],
        psnr_db: float,
    ) -> None:
        """The photograph and the same view rendered, at the same size."""
        taken = "" if frame.captured_at is None else f", taken {frame.captured_at}"
        self._text.content = (
            f"{frame.split}{taken}  \nfrom {place_words(frame.c2w[:, 3], self._reference)}  \n"
            f"The render is {psnr_db:.1f} dB from the photograph."
        )
        self._photograph.image, self._render.image = photograph, render
        for handle in (self._text, self._photograph, self._render):
            handle.visible = True

    def hide(self) -> None:
        """Nothing is chosen."""
        for handle in (self._text, self._photograph, self._render):
            handle.visible = False


def _name_of(frame: Frame) -> str:
    """Cameras of different folders name their photographs alike."""
    return f"{frame.split}: {frame.file.removeprefix('images/')}"

"""Which parts of the scene's files lie over the picture: experts' boxes, cameras, sparse points."""

from collections.abc import Callable

import viser

from anerf.viewer.scene_nodes import Part, split_words
from anerf.viewer.surroundings import Surroundings


class ScenePartsPanel:
    """A switch for each part; what is not there cannot be switched on."""

    def __init__(self, gui: viser.GuiApi, surroundings: Surroundings) -> None:
        here = bool(surroundings.frames)
        self.switches: dict[Part, viser.GuiCheckboxHandle] = {
            "experts": gui.add_checkbox(
                "Experts' boxes", False, hint="What each expert's rays meet, and the scene's box"
            ),
            "cameras": gui.add_checkbox(
                "Cameras", False, disabled=not here, hint="Click one to fly there and see its photograph"
            ),
            "points": gui.add_checkbox(
                "Points", False, disabled=not len(surroundings.points_xyz), hint="The survey's sparse points"
            ),
        }
        words = f"Cameras: {split_words(surroundings.splits)}"
        gui.add_markdown(words if surroundings.missing is None else surroundings.missing)

    def on_part(self, show: Callable[[Part, bool], None]) -> None:
        """Call `show` when a part is switched on or off."""
        for part, switch in self.switches.items():
            switch.on_update(lambda _, part=part, switch=switch: show(part, switch.value))

"""Buttons that move the camera, and a line to fly to coordinates."""

from collections.abc import Callable
from typing import Literal, cast, get_args

import viser

Move = Literal["Overview", "From above", "Straight down", "North up", "Look at centre"]
Arrival = Literal["Look at it", "Stand there"]


class NavigationPanel:
    """Asks for moves; where the camera is stands below."""

    def __init__(self, gui: viser.GuiApi) -> None:
        moves = get_args(Move)
        self._moves = [gui.add_button_group("Camera", moves[:2]), gui.add_button_group("Turn", moves[2:])]
        self._place = gui.add_text(
            "Fly to", "", hint="Latitude, longitude and, if you like, height, such as 51.97, 7.741, 60"
        )
        self._arrival = gui.add_button_group("There", get_args(Arrival))
        self._camera = gui.add_markdown("")

    def on_move(self, move: Callable[[Move], None]) -> None:
        """Call `move` when a button is pressed."""
        for group in self._moves:
            group.on_click(lambda event: move(cast(Move, event.target.value)))

    def on_place(self, fly: Callable[[str, Arrival], None]) -> None:
        """Call `fly` with the coordinates as typed."""
        self._arrival.on_click(lambda event: fly(self._place.value, cast(Arrival, event.target.value)))

    def say(self, text: str) -> None:
        """Show where the camera is."""
        if self._camera.content != text:
            self._camera.content = text

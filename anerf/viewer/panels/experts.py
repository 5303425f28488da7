"""Whose scene is shown: all experts, or one alone; and in which flight's look."""

from collections.abc import Callable

import viser

ALL_EXPERTS = "all"


class ExpertsPanel:
    """Chooses among experts and flights. The newest flight is shown first: it is what people look for."""

    def __init__(self, gui: viser.GuiApi, experts: tuple[str, ...], flights: tuple[str, ...]) -> None:
        names = (ALL_EXPERTS, *(f"expert {name}" for name in experts))
        self._expert = gui.add_dropdown("Experts", names, initial_value=ALL_EXPERTS)
        self._numbers = {name: i - 1 for i, name in enumerate(names)}
        self._flight = gui.add_dropdown(
            "Look of flight",
            flights or ("survey",),
            initial_value=flights[-1] if flights else "survey",
            visible=len(flights) > 1,
            hint="Season, light, and what an event has changed",
        )

    @property
    def expert(self) -> int | None:
        """The only expert to show; None: all."""
        number = self._numbers[self._expert.value]
        return None if number < 0 else number

    @property
    def flight(self) -> str:
        """Whose look to show."""
        return self._flight.value

    def offer(self, flights: tuple[str, ...]) -> None:
        """Other flights are known now: the newest is chosen where it was not known before."""
        if flights and tuple(self._flight.options) != flights:
            is_new = flights[-1] not in self._flight.options
            chosen = self._flight.value
            self._flight.options = flights
            self._flight.value = flights[-1] if is_new or chosen not in flights else chosen
            self._flight.visible = len(flights) > 1

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every choice."""
        self._expert.on_update(lambda _: changed())
        self._flight.on_update(lambda _: changed())

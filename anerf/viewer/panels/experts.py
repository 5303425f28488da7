"""Whose scene is shown: all experts, or one alone; and in which flight's look."""

from collections.abc import Callable

import viser

ALL_EXPERTS = "all"


class ExpertsPanel:
    """Chooses among experts and flights. The newest flight is shown first: it is what people look for."""

    def __init__(self, gui: viser.GuiApi, experts: tuple[str, ...], flights: tuple[str, ...]) -> None:
        self._expert = gui.add_dropdown("Experts", _names(experts), initial_value=ALL_EXPERTS)
        self._flight = gui.add_dropdown(
            "Look of flight",
            flights or ("survey",),
            initial_value=flights[-1] if flights else "survey",
            visible=len(flights) > 1,
            hint="Season, light, and what an event has changed",
        )

    @property
    def expert(self) -> int | None:
        """The only expert to show; None: all, also where a browser still names one that is not there now."""
        name, names = self._expert.value, self._expert.options
        return names.index(name) - 1 if name in names[1:] else None

    @property
    def flight(self) -> str:
        """Whose look to show."""
        return self._flight.value

    def offer(self, experts: tuple[str, ...], flights: tuple[str, ...]) -> None:
        """Another model is shown: with all experts where it lacks the chosen one, and in the look of its
        newest flight where that was not known before.
        """
        names = _names(experts)
        if tuple(self._expert.options) != names:
            if self.expert is None:
                self._expert.value = ALL_EXPERTS  # a name that was not there must not come true now
            self._expert.options = names  # what is chosen and not among them gives way to the first
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


def _names(experts: tuple[str, ...]) -> tuple[str, ...]:
    return (ALL_EXPERTS, *(f"expert {name}" for name in experts))

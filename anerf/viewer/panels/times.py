"""A switch between two checkpoints: before, after, their difference, or one beside the other."""

from collections.abc import Callable
from typing import cast, get_args

import viser

from anerf.viewer.choices import TimeMode, Times

NO_OTHER: str = "none"


class TimesPanel:
    """Chooses two checkpoints by name, and what of them is seen. `own` is the name of the job's own."""

    def __init__(self, gui: viser.GuiApi, own: str, names: tuple[str, ...], before: str | None) -> None:
        self._own = own
        self._mode = gui.add_dropdown(
            "Show",
            get_args(TimeMode),
            initial_value="after",
            hint="What of the two checkpoints below is seen",
        )
        self._share = gui.add_slider(
            "Wipe at (%)", min=0, max=100, step=1, initial_value=50, visible=False, hint="Before | after"
        )
        nothing: tuple[str, ...] = (NO_OTHER,)
        self._before = gui.add_dropdown("Before", nothing, initial_value=NO_OTHER)
        self._after = gui.add_dropdown("After", (own,), initial_value=own)
        self._again = gui.add_button("Look for new checkpoints", color="gray")
        self.offer(names, before=before or NO_OTHER, after=own)

    @property
    def times(self) -> Times:
        """What is chosen now."""
        return Times(cast(TimeMode, self._mode.value), float(self._share.value) / 100)

    @property
    def before(self) -> str | None:
        """The checkpoint to compare with."""
        name = self._before.value  # once: the browser may choose another meanwhile
        return None if name == NO_OTHER else name

    @property
    def after(self) -> str:
        """The checkpoint that is shown."""
        return self._after.value

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after a choice that changes the picture only."""
        self._share.on_update(lambda _: changed())

    def on_checkpoint(self, changed: Callable[[], None]) -> None:
        """Call `changed` after other checkpoints are to be seen."""

        def mode(_: object) -> None:
            self._share.visible = self._mode.value == "wipe"
            changed()

        self._mode.on_update(mode)
        self._before.on_update(lambda _: changed())
        self._after.on_update(lambda _: changed())

    def on_again(self, look: Callable[[], None]) -> None:
        """Call `look` when new checkpoints are looked for."""
        self._again.on_click(lambda _: look())

    def offer(self, names: tuple[str, ...], before: str | None = None, after: str | None = None) -> None:
        """Let these be chosen, and choose; what is not given stays as it is chosen."""
        before, after = before or self._before.value, after or self._after.value
        self._before.options = tuple(dict.fromkeys((NO_OTHER, self._own, *names, before)))
        self._after.options = tuple(dict.fromkeys((self._own, *names, after)))
        self._before.value, self._after.value = before, after

    def show(self, mode: TimeMode) -> None:
        """Set the switch, as by hand."""
        self._mode.value = mode

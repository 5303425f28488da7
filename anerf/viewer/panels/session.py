"""A picture to keep, and the end of the viewer."""

from collections.abc import Callable

import viser


class SessionPanel:
    """Screenshot and end; the end asks back first."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui
        self._shot = gui.add_button("Screenshot", icon=viser.Icon.CAMERA)
        self._end = gui.add_button("End the viewer", color="red", icon=viser.Icon.POWER)

    def on_shot(self, shoot: Callable[[], None]) -> None:
        """Call `shoot` when a picture is wanted."""
        self._shot.on_click(lambda _: shoot())

    def on_end(self, end: Callable[[], None]) -> None:
        """Call `end` when the viewer is to end for everybody, and it was confirmed."""

        def ask(_: object) -> None:
            modal = self._gui.add_modal("End the viewer?")

            def confirmed(_: object) -> None:
                modal.close()
                end()

            with modal:
                self._gui.add_markdown(
                    "It ends for everybody. Jobs of a stack go on; without one, those started here end too."
                )
                # A button is there as soon as it is added: nothing comes between it and what it does.
                self._gui.add_button("End it", color="red").on_click(confirmed)
                self._gui.add_button("Keep it open", color="gray").on_click(lambda _: modal.close())

        self._end.on_click(ask)

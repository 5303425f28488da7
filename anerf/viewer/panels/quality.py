"""How fine pictures are, and what they took."""

from collections.abc import Callable

import viser

from anerf.viewer.choices import Quality

PRESETS = {"quick": Quality(8, 320), "normal": Quality(16, 512), "fine": Quality(32, 960)}
_OWN = "own"
MOST_SAMPLES, LEAST_SAMPLES, SAMPLES_STEP = 256, 4, 4


class QualityPanel:
    """A preset, or samples and width one by one; `own` is what the job asked for."""

    def __init__(self, gui: viser.GuiApi, own: Quality) -> None:
        self._presets = {**PRESETS, _OWN: own}
        preset = next((name for name, quality in PRESETS.items() if quality == own), _OWN)
        self._preset = gui.add_dropdown("Quality", tuple(self._presets), initial_value=preset)
        with gui.add_folder("Samples and size", expand_by_default=False):
            self._samples = gui.add_slider(
                "Samples a ray",
                min=LEAST_SAMPLES,
                max=MOST_SAMPLES,
                step=SAMPLES_STEP,
                initial_value=max(LEAST_SAMPLES, own.samples // SAMPLES_STEP * SAMPLES_STEP),
                hint="More is finer and slower",
            )
            self._width = gui.add_slider(
                "Width at rest",
                min=128,
                max=1920,
                step=64,
                initial_value=own.width_px // 64 * 64,
                hint="Pixels of the finished picture",
            )
        self._status = gui.add_markdown("")

    @property
    def quality(self) -> Quality:
        """What is chosen now."""
        return Quality(int(self._samples.value), int(self._width.value))

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every choice."""

        def preset(event: viser.GuiEvent[viser.GuiDropdownHandle[str]]) -> None:
            chosen = self._presets[event.target.value]
            self._samples.value = max(LEAST_SAMPLES, chosen.samples)
            self._width.value = chosen.width_px
            changed()

        self._preset.on_update(preset)
        self._samples.on_update(lambda _: changed())
        self._width.on_update(lambda _: changed())

    def say(self, text: str) -> None:
        """Show what the last picture took."""
        self._status.content = text

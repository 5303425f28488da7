"""What an adaptation is to be: to which flight, how many steps, how fast it learns."""

from collections.abc import Callable
from dataclasses import dataclass

import viser

from anerf.jobs.spec import EvalJob
from anerf.viewer.live import Rates

MOST_STEPS = 100_000
_SIZES = {"full": 1.0, "half": 0.5, "quarter": 0.25, "eighth": 0.125}
_NO_FLIGHT = "none"
_DEFAULTS = {name: EvalJob.model_fields[name].default for name in ("encoding_lr", "sigma_lr", "color_lr")}


@dataclass(frozen=True)
class Wanted:
    """What the panel says now."""

    batch: str
    steps: int
    rates: Rates
    downscale: float


class AdaptationPanel:
    """Settings, and the button that starts; rates can be changed while it learns. `batches` are flights."""

    def __init__(self, gui: viser.GuiApi, batches: tuple[str, ...]) -> None:
        newest = batches[-1] if batches else _NO_FLIGHT
        self._batch = gui.add_dropdown("Batch", batches or (_NO_FLIGHT,), initial_value=newest)
        self._steps = gui.add_number("Steps", 300, min=1, max=MOST_STEPS, step=1)
        self._size = gui.add_dropdown("Photographs", tuple(_SIZES), initial_value="half")
        with gui.add_folder("Learning rates", expand_by_default=False):
            self._rates = {
                name: gui.add_number(label, float(_DEFAULTS[name]), min=1e-6, max=1.0, step=0.0005)
                for name, label in (
                    ("encoding_lr", "Hash grid"),
                    ("sigma_lr", "Density"),
                    ("color_lr", "Colour"),
                )
            }
            self._change = gui.add_button("Give these to the running job", color="gray")
        self._start = gui.add_button("Start adapting", disabled=not batches)
        if not batches:
            gui.add_markdown("The scene has no later flight: add one with `anerf update`.")

    @property
    def wanted(self) -> Wanted:
        """What is chosen now."""
        return Wanted(self._batch.value, int(self._steps.value), self.rates, _SIZES[self._size.value])

    @property
    def rates(self) -> Rates:
        """The learning rates that are chosen now."""
        return Rates(**{name: float(handle.value) for name, handle in self._rates.items()})

    def on_start(self, start: Callable[[], None]) -> None:
        """Call `start` when the adaptation is wanted."""
        self._start.on_click(lambda _: start())

    def on_change(self, change: Callable[[], None]) -> None:
        """Call `change` when the running job is to take the rates."""
        self._change.on_click(lambda _: change())

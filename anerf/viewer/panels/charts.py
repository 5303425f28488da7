"""Curves of a running job: loss and PSNR of the rays, an expert a line."""

import numpy as np
import viser
from jaxtyping import Float
from viser import uplot

from anerf.viewer.layer_colors import expert_rgb
from anerf.viewer.live import JobNews

_HEIGHT_PX = 170
_MOST_LINES = 16
_MEAN_RGB = (220, 220, 226)
_TEXT = "#a9b0bd"


class Charts:
    """Two charts that appear with the first curve; with more than 16 experts only their mean is drawn."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui
        self._folder = gui.add_folder("Curves", visible=False)
        self._charts: list[viser.GuiUplotHandle] = []
        self._names: tuple[str, ...] = ()

    def show(self, news: JobNews) -> None:
        """Draw what is known so far."""
        steps, curves = curves_of(news)
        if len(steps) < 2:
            return
        psnr = {name: -10 * np.log10(np.maximum(values, 1e-10)) for name, values in curves.items()}
        if tuple(curves) != self._names:
            self._make(tuple(curves), steps, (curves, psnr))
            return
        for chart, lines in zip(self._charts, (curves, psnr), strict=True):
            chart.data = (steps, *lines.values())

    def _make(
        self,
        names: tuple[str, ...],
        steps: Float[np.ndarray, " n"],
        of_chart: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
    ) -> None:
        for chart in self._charts:
            chart.remove()
        self._names, self._charts = names, []
        self._folder.visible = True
        with self._folder:
            for title, lines in zip(("Loss of the rays", "PSNR of the rays (dB)"), of_chart, strict=True):
                self._charts.append(
                    self._gui.add_uplot(
                        (steps, *lines.values()),
                        (uplot.Series(label="step"), *(_series(name) for name in names)),
                        title=title,
                        scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=True)},
                        axes=(uplot.Axis(stroke=_TEXT), uplot.Axis(stroke=_TEXT, size=56)),
                        legend=uplot.Legend(show=False),
                        height=_HEIGHT_PX,
                    )
                )


def curves_of(news: JobNews) -> tuple[Float[np.ndarray, " n"], dict[str, Float[np.ndarray, " n"]]]:
    """Steps, and a curve for each expert (`0`, `1`, ...), or their mean where they are many or unknown."""
    steps = np.array(news.curve_steps, np.float64)
    if 0 < len(news.loss_curves) <= _MOST_LINES:
        return steps, {str(expert): np.array(curve) for expert, curve in news.loss_curves.items()}
    return steps, {"mean": np.array(news.loss_curve)}


def _series(name: str) -> uplot.Series:
    red, green, blue = expert_rgb(int(name)) if name.isdigit() else _MEAN_RGB
    label = f"expert {name}" if name.isdigit() else name
    return uplot.Series(label=label, stroke=f"rgb({red},{green},{blue})", width=1.5, spanGaps=True)

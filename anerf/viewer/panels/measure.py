"""Clicks into the picture: where a place is on Earth, and how far two places are apart."""

from collections.abc import Callable

import numpy as np
import viser
from jaxtyping import Float

from anerf.geometry.geodesy import GeodeticReference
from anerf.viewer.camera import ViewFrame
from anerf.viewer.picking import Between, place_words

_MARK_RGB = (255, 214, 10)
_NOTHING = "There is no surface under this click."
_HINT = "Click into the picture: its place on Earth appears here."


class MeasurePanel:
    """Marks what was clicked; while measuring, every second click ends a line."""

    def __init__(
        self, gui: viser.GuiApi, scene: viser.SceneApi, frame: ViewFrame, reference: GeodeticReference
    ) -> None:
        self._scene, self._frame, self._reference = scene, frame, reference
        self._text = gui.add_markdown(_HINT)
        self._is_measuring = gui.add_checkbox(
            "Measure between two clicks", False, hint="Distance and height between one click and the next"
        )
        clear = gui.add_button("Clear marks", color="gray")
        clear.on_click(lambda _: self.clear())
        self._is_measuring.on_update(lambda _: self.clear())
        self._points: list[np.ndarray] = []
        self._nodes: list[viser.SceneNodeHandle] = []

    def take(self, place: Float[np.ndarray, "3"] | None) -> None:
        """A click has met the surface at this place (ENU metres), or none."""
        if place is None:
            self._text.content = _NOTHING
            return
        if not self._is_measuring.value or len(self._points) == 2:
            self._forget()
        self._points.append(place)
        words = place_words(place, self._reference)
        if len(self._points) == 1:
            self._mark(place, words)
            more = "  \nNow click the other end." if self._is_measuring.value else ""
            self._text.content = f"**Clicked:** {words}{more}"
        else:
            self._line(*self._points)

    def clear(self) -> None:
        """Take all marks away."""
        self._forget()
        self._text.content = _HINT

    def on_click(self, pick: Callable[[viser.SceneClickEvent], None]) -> None:
        """Call `pick` for every click into the picture."""
        self._scene.on_click()(pick)

    def _forget(self) -> None:
        for node in self._nodes:
            node.remove()
        self._nodes, self._points = [], []

    def _mark(self, place: Float[np.ndarray, "3"], words: str) -> None:
        at = self._frame.point(place)
        name = f"/marks/{len(self._points)}"
        ball = self._scene.add_icosphere(
            name, radius=0.006, color=_MARK_RGB, position=at, cast_shadow=False, receive_shadow=False
        )
        label = self._scene.add_label(f"{name}/label", words, anchor="bottom-left")
        self._nodes += [ball, label]

    def _line(self, start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]) -> None:
        between = Between.of(start, end)
        self._mark(end, f"{between.straight_m:.2f} m")
        ends = self._frame.point(np.array([[start, end]])).astype(np.float32)
        line = self._scene.add_line_segments(
            "/marks/line", ends, _MARK_RGB, thickness=3.0, thickness_units="screen"
        )
        self._nodes.append(line)
        self._text.content = (
            f"**{between.straight_m:.2f} m** apart, {between.level_m:.2f} m on the level  \n"
            f"**{between.rise_m:+.2f} m** in height, bearing {between.bearing_deg:.0f}\u00b0  \n"
            f"from {place_words(start, self._reference)}  \nto {place_words(end, self._reference)}"
        )

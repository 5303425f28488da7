"""What a person does with the viewer's page."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

CHANGED = 2.0
"""Of 255, in the mean: what two pictures differ by that are not of the same."""


class Person:
    """Looks at a page, presses and drags on it. `shots` is where pictures of it go."""

    def __init__(self, page: Page, shots: Path) -> None:
        self.page, self._shots, self._n_shots, self._n_known = page, shots, 0, 0

    def open(self, url: str, timeout_s: float = 60) -> float:
        """Open the page and wait for the first picture; the seconds that took."""
        self.page.add_init_script(_WATCH)
        start = time.monotonic()
        self.page.goto(url)
        self.page.wait_for_function("() => window.firstPictureAt > 0", timeout=timeout_s * 1000)
        took_s = self.page.evaluate("() => window.firstPictureAt") / 1000
        assert took_s <= time.monotonic() - start
        self.page.get_by_text("Layer", exact=True).wait_for()
        return took_s

    def shoot(self, name: str) -> np.ndarray:
        """Keep a picture of the page."""
        self._n_shots += 1
        data = self.page.screenshot(path=self._shots / f"{self._n_shots:02d}-{name}.png")
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)

    def scene(self) -> np.ndarray:
        """What the page shows left of its panel."""
        size = self.page.viewport_size
        assert size is not None
        clip = {
            "x": 0,
            "y": size["height"] * 0.3,
            "width": size["width"] * 0.7,
            "height": size["height"] * 0.6,
        }
        data = self.page.screenshot(clip=clip)  # pyright: ignore[reportArgumentType]
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def choose(self, label: str, option: str) -> None:
        """Take an option of a list."""
        self._n_known = self.n_pictures()
        self.control(label).click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def tick(self, label: str) -> None:
        self.control(label).click(force=True)

    def press(self, name: str) -> None:
        self._n_known = self.n_pictures()
        self.page.get_by_role("button", name=name, exact=True).click()

    def control(self, label: str) -> Locator:
        """The input beside a label."""
        return self.page.locator(f'xpath=//*[normalize-space(text())="{label}"]/following::input[1]')

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 12) -> None:
        """Drag with the left button, as to turn the scene."""
        self._n_known = self.n_pictures()
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for i in range(1, steps + 1):
            x, y = (a + (b - a) * i / steps for a, b in zip(start, end, strict=True))
            self.page.mouse.move(x, y)
            time.sleep(0.03)
        self.page.mouse.up()

    def settle(self, quiet_s: float = 1.0, timeout_s: float = 60) -> None:
        """Until a picture has come after what was done last, and none for a while."""
        self.until(lambda: self.n_pictures() > self._n_known, timeout_s)
        self._until_quiet(quiet_s, timeout_s)

    def see_other_than(self, before: np.ndarray, quiet_s: float = 1.0, timeout_s: float = 60) -> None:
        """Until the scene is another than `before`: the first picture after may be late, and of before."""
        self.settle(quiet_s, timeout_s)
        self.until(lambda: change(before, self.scene()) > CHANGED, timeout_s)
        self._until_quiet(quiet_s, timeout_s)

    def _until_quiet(self, quiet_s: float, timeout_s: float) -> None:
        self.until(lambda: self.page.evaluate(_QUIET_MS) > 1000 * quiet_s, timeout_s)

    def n_pictures(self) -> int:
        """How many pictures have come."""
        return int(self.page.evaluate("() => window.pictures.length"))

    def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it does not come about"
            self.page.wait_for_timeout(200)


def change(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two pictures' bytes."""
    return float(np.abs(one - other).mean())


# The page draws a picture by decoding a blob of it: that moment is when people see it.
_WATCH = """
window.pictures = []; window.firstPictureAt = 0;
const decode = window.createImageBitmap;
const note = () => { window.pictures.push(performance.now());
                     if (!window.firstPictureAt) window.firstPictureAt = performance.now(); };
const makeUrl = URL.createObjectURL;
URL.createObjectURL = (blob) => { if (blob && /^image\\/(png|jpeg)$/.test(blob.type || "")) note();
                                  return makeUrl.call(URL, blob); };
if (decode) window.createImageBitmap = (...a) => decode.apply(window, a).then((b) => { note(); return b; });
"""
_QUIET_MS = "() => performance.now() - (window.pictures.at(-1) ?? performance.now())"

"""The controls of the camera path's editor."""

from collections.abc import Callable
from typing import Literal, cast, get_args

import viser

KeyAction = Literal["go there", "replace", "remove"]
PathAction = Literal["play", "halt", "clear"]
FileAction = Literal["save", "open"]
SIZES_PX = {"640 x 360": (640, 360), "1280 x 720": (1280, 720), "1920 x 1080": (1920, 1080)}
NO_KEY: str = "none"


class PathPanel:
    """Asks for what its buttons say; the editor does it."""

    def __init__(self, gui: viser.GuiApi, saved: tuple[str, ...], can_film: bool) -> None:
        self._add = gui.add_button("Add this view", icon=viser.Icon.PLUS)
        nothing: tuple[str, ...] = (NO_KEY,)
        self._key = gui.add_dropdown("Key frame", nothing, initial_value=NO_KEY)
        self._key_actions = gui.add_button_group("Key", get_args(KeyAction))
        self.leg_s = gui.add_number(
            "Seconds to it", 3.0, min=0.1, max=600.0, step=0.1, hint="From the key frame before"
        )
        self._path_actions = gui.add_button_group("Path", get_args(PathAction))
        self._text = gui.add_markdown("Add views, then drag the chosen one by its arrows in the picture.")
        with gui.add_folder("Saved paths"):
            self.name = gui.add_text("Name", "path", hint="In the folder `paths` of the output folder")
            self._saved = gui.add_markdown("")
            self._file_actions = gui.add_button_group("File", get_args(FileAction))
        with gui.add_folder("Video", visible=can_film):
            self._size = gui.add_dropdown("Size", tuple(SIZES_PX), initial_value="640 x 360")
            self._fps = gui.add_number("Frames a second", 24, min=1, max=60, step=1)
            self._film = gui.add_button("Render video", icon=viser.Icon.MOVIE)
            self._film_text = gui.add_markdown("", visible=False)
            self._progress = gui.add_progress_bar(0.0, visible=False)
        self.tell_saved(saved)

    @property
    def chosen(self) -> int | None:
        """The key frame that is chosen."""
        key = self._key.value  # once: the browser may choose another meanwhile
        return None if key == NO_KEY else int(key) - 1

    @property
    def film_size_px(self) -> tuple[int, int]:
        """Width and height of a video."""
        return SIZES_PX[self._size.value]

    @property
    def fps(self) -> int:
        """Frames a second of a video."""
        return int(self._fps.value)

    def on_add(self, add: Callable[[], None]) -> None:
        """Call `add` when the view is to be a key frame."""
        self._add.on_click(lambda _: add())

    def on_choose(self, choose: Callable[[], None]) -> None:
        """Call `choose` when another key frame is chosen."""
        self._key.on_update(lambda _: choose())

    def on_leg(self, change: Callable[[], None]) -> None:
        """Call `change` when the seconds before the chosen key frame are set."""
        self.leg_s.on_update(lambda event: change() if event.client is not None else None)

    def on_action(self, act: Callable[[KeyAction | PathAction | FileAction], None]) -> None:
        """Call `act` with what a button says."""
        for group in (self._key_actions, self._path_actions, self._file_actions):
            group.on_click(lambda event: act(cast(KeyAction, event.target.value)))

    def on_film(self, film: Callable[[], None]) -> None:
        """Call `film` when a video is wanted."""
        self._film.on_click(lambda _: film())

    def offer(self, n_keys: int, chosen: int | None, seconds: float) -> None:
        """So many key frames are there; which is chosen, and how long all of it takes."""
        value = NO_KEY if chosen is None else str(chosen + 1)
        self._key.options = (NO_KEY, *(str(i + 1) for i in range(n_keys)))
        if self._key.value != value:
            self._key.value = value
        views = "view" if n_keys == 1 else "views"
        self._text.content = f"{n_keys} {views}, {seconds:.1f} s" if n_keys else "No views yet."

    def tell_saved(self, names: tuple[str, ...]) -> None:
        """Show which paths can be opened."""
        self._saved.content = f"Saved: {', '.join(names[:30])}" if names else "No path is saved yet."

    def tell_film(self, text: str, share: float | None) -> None:
        """Show how far a video is; None: not under way."""
        self._film_text.content, self._film_text.visible = text, True
        self._progress.visible = share is not None
        self._progress.value = 100.0 * (share or 0.0)

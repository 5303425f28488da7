"""Which models one browser looks at: two checkpoints, or a running job's scene in place of the later one."""

import threading
from collections.abc import Callable

import viser

from anerf.errors import InputError
from anerf.render.scene_model import SceneModel
from anerf.viewer.drawing import Shown
from anerf.viewer.live import LiveScene
from anerf.viewer.panels.times import TimesPanel
from anerf.viewer.settings import Exhibit

_LIVE = "live: "


class Comparison:
    """The `Time` panel and the models that it names. `changed` is called when other models are shown."""

    def __init__(self, gui: viser.GuiApi, exhibit: Exhibit, changed: Callable[[], None]) -> None:
        self._exhibit, self._changed = exhibit, changed
        self._lock = threading.RLock()
        self._live: tuple[str, SceneModel] | None = None
        self.shown = Shown(exhibit.model)
        self.panel = TimesPanel(gui, exhibit.name, exhibit.shelf.known, exhibit.before)

    @property
    def checkpoint_uri(self) -> str:
        """The folder of the checkpoint that is shown; while a job is watched, of what it is compared with."""
        name = self.panel.after
        if name.startswith(_LIVE):
            name = self.panel.before or self._exhibit.name
        return self._exhibit.uri if name == self._exhibit.name else self._exhibit.shelf.uri(name)

    @property
    def misses_scene(self) -> bool:
        """Whether a running job's scene is chosen and not held: nobody looked at it for a while."""
        return self.panel.after.startswith(_LIVE) and self._live is None

    def choose(self) -> None:
        """Take what the panel says now.

        Raises:
            InputError: there is nothing to compare with, or see `Shelf.get`. CheckpointError: see there.
        """
        with self._lock:
            after = self.panel.after
            # Not read before it is looked at: it would delay the first picture.
            before = None if self.panel.times.mode == "after" else self.panel.before
            self.shown = Shown(self._named(after), None if before is None else self._named(before))
            has_other = self.panel.before is not None
            if not after.startswith(_LIVE):
                self._live = None  # its weights stay in the object store as long as they are held
        self._changed()
        if self.panel.times.mode != "after" and not has_other:
            raise InputError("there is no checkpoint to compare with: choose one under Before")

    def look_for_checkpoints(self) -> None:
        """Offer what is there now."""
        self.panel.offer(self._exhibit.shelf.names())

    def watch(self, job_id: str) -> None:
        """Show a running job's scene, as soon as there is one, beside the checkpoint that was shown."""
        name, after = _LIVE + job_id, self.panel.after
        if after != name:
            before = self.panel.before if after.startswith(_LIVE) else after
            self.panel.offer(self._exhibit.shelf.names(), before=before, after=name)

    def see(self, job_id: str, scene: LiveScene) -> None:
        """A running job has a newer scene."""
        with self._lock:
            if self.panel.after != _LIVE + job_id:
                return  # people have looked away meanwhile
            self._live = (_LIVE + job_id, scene.model)
            self.shown = Shown(scene.model, self.shown.before)
        self._changed()

    def look_away(self) -> None:
        """Back to a checkpoint: the newest of the job that was watched, where it has left one."""
        name = self.panel.after
        if not name.startswith(_LIVE):
            return
        names = self._exhibit.shelf.names()
        of_job = [known for known in names if known.startswith(f"{name.removeprefix(_LIVE)}, step ")]
        self.panel.offer(names, after=of_job[0] if of_job else self.panel.before or self._exhibit.name)

    def _named(self, name: str) -> SceneModel:
        if name.startswith(_LIVE):
            # Until the job offers its first scene, what was shown stays.
            return self._live[1] if self._live and self._live[0] == name else self.shown.after
        return (
            self._exhibit.model
            if name == self._exhibit.name
            else self._exhibit.shelf.get(name, self._exhibit.model)
        )

"""What a viewer is told when it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anerf.render.scene_model import SceneModel
from anerf.viewer.choices import Quality
from anerf.viewer.live import LiveJobs
from anerf.viewer.shelf import Shelf
from anerf.viewer.surroundings import Surroundings

FOV_Y_DEG = 60.0


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What a viewer shows to everybody, and what it may do.

    `name` is that of the checkpoint, `uri` its folder, `before` the name of the one that it was adapted from.
    `out` is the output folder: files that the browser names are written and read there only. `end`
    ends the viewer.
    """

    title: str
    name: str
    uri: str
    model: SceneModel
    surroundings: Surroundings
    quality: Quality
    shelf: Shelf
    out: Path
    end: Callable[[], None]
    before: str | None = None
    jobs: LiveJobs | None = None
    """Running jobs, where they can be reached."""

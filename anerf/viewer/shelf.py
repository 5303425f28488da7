"""Checkpoints that can be looked at beside the one that is shown: those of the output folder, by name."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anerf.checkpoint import storage
from anerf.checkpoint.resolve import complete_steps, step_folder, written_ns
from anerf.errors import CheckpointError, InputError
from anerf.jobs.spec import parse_job
from anerf.render.scene_model import SceneModel

_MOST_JOBS, _MOST_STEPS = 200, 12
_log = logging.getLogger(__name__)


class Shelf:
    """Loads checkpoints of `out` by the names that `names` gives, and keeps the last few. Safe for threads.

    Only these names lead anywhere: nothing that a browser sends becomes a path.
    """

    def __init__(self, out: Path, load: Callable[[str], SceneModel], most: int = 3) -> None:
        self._out, self._load, self._most = out, load, most
        self._places: dict[str, str] = {}
        self._names: tuple[str, ...] = ()
        self._models: OrderedDict[tuple[str, int | None], SceneModel] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def known(self) -> tuple[str, ...]:
        """What was there when `names` looked."""
        with self._lock:
            return self._names

    def names(self) -> tuple[str, ...]:
        """What is there now and open to us, by job, the newest steps first; of very many jobs the newest."""
        found: dict[str, str] = {}
        # `glob` passes over folders that are closed to us, where `is_dir` raises.
        folders = sorted(self._out.glob("*/checkpoints"), key=_changed_at)[-_MOST_JOBS:]
        for folder in sorted(folders):
            for step in _steps(str(folder))[::-1][:_MOST_STEPS]:
                found[f"{folder.parent.name}, step {step}"] = step_folder(str(folder), step)
        with self._lock:
            self._places |= found
            self._names = tuple(found)
        return tuple(found)

    def name_of(self, uri: str) -> str | None:
        """The name of a step's folder, if it is one of these."""
        wanted = Path(storage.shown(uri)).resolve()
        with self._lock:
            places = list(self._places.items())
        return next((name for name, place in places if Path(place).resolve() == wanted), None)

    def uri(self, name: str) -> str:
        """The step's folder of this name.

        Raises:
            InputError: the name is unknown.
        """
        with self._lock:
            if name not in self._places:
                raise InputError(f"checkpoint {name[:100]!r} is not in the list: choose one that is")
            return self._places[name]

    def get(self, name: str, like: SceneModel) -> SceneModel:
        """The checkpoint of this name, which must show the place that `like` shows.

        Raises:
            InputError: the name is unknown, or it is another place. CheckpointError: it cannot be read.
        """
        uri = self.uri(name)
        key = uri, written_ns(uri)
        with self._lock:
            if key not in self._models:
                self._models[key] = self._load(uri)
            self._models.move_to_end(key)
            while len(self._models) > self._most:
                self._models.popitem(last=False)
            model = self._models[key]
        if model.reference != like.reference:
            raise InputError(
                f"checkpoint {name} is of scene {model.scene_name}, about another reference than"
                f" {like.scene_name}: choose one of the same scene"
            )
        return model


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # it has gone meanwhile
        return 0.0


def _steps(checkpoints: str) -> list[int]:
    try:
        return complete_steps(checkpoints)
    except CheckpointError as error:
        _log.info("checkpoints are not offered: %s", error)
        return []


def ancestor_of(manifest_job: Mapping[str, Any]) -> tuple[str, str] | None:
    """Path and prefix of the checkpoint that an adaptation began with; None for what is no adaptation."""
    if manifest_job.get("op") != "eval":
        return None
    job = parse_job(manifest_job)
    if job.checkpoint_path is None:
        raise CheckpointError(f"adaptation {job.job_id} does not say what it began with")
    return job.checkpoint_path, job.prefix

"""Renders what clients ask for, from the checkpoints below one folder. Knows no web server."""

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.checkpoint.resolve import complete_steps, resolve_checkpoint
from anerf.errors import AnerfError, CheckpointError, InputError, JobCancelled
from anerf.products.colormap import depth_range_m
from anerf.products.layers import MEDIA_TYPES, encode_layer
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from serve_apps.cache import LruCache
from serve_apps.confine import inside
from serve_apps.requests import RenderRequest
from serve_apps.views import camera_of, pose_of

MODELS_IN_MEMORY = 2
RENDER_LIMIT_S = 120.0
_STUCK_AFTER_S = 60.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


class NotFoundError(InputError):
    """The client named a checkpoint that does not exist."""


class DamagedError(InputError):
    """The client named a checkpoint that exists and cannot be used."""


class TooSlowError(AnerfError):
    """The picture took longer than a request may."""


@dataclasses.dataclass(frozen=True)
class RenderedFile:
    """An encoded picture and what it shows; `depth_range_m` only where depth was coloured."""

    data: bytes
    media_type: str
    scene: str
    step: int
    flight: str
    render_s: float
    depth_range_m: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class _Loaded:
    model: SceneModel
    manifest: Manifest


class RenderService:
    """Pictures from the checkpoints below `out_root`; safe to call from several threads."""

    def __init__(self, out_root: Path) -> None:
        self.out_root = out_root
        self._models: LruCache[tuple[str, int], _Loaded] = LruCache(MODELS_IN_MEMORY)
        self._beats: dict[object, float] = {}

    def render(self, request: RenderRequest, should_stop: Callable[[], bool]) -> RenderedFile:
        """The picture that `request` describes.

        Raises:
            OutsideError, NotFoundError, DamagedError: the checkpoint is outside, missing, damaged.
            InputError: pose, flight or expert do not fit the scene.
            JobCancelled: `should_stop` said so. TooSlowError: it took longer than 120 s.
        """
        loaded = self._load(request.checkpoint, request.prefix)
        model = loaded.model.sampled(request.sampler, None)
        c2w = pose_of(request, model.reference)
        camera = camera_of(request)
        start = time.monotonic()
        call = object()

        def must_stop() -> bool:
            self._beats[call] = time.monotonic()
            return should_stop() or time.monotonic() - start > RENDER_LIMIT_S

        try:
            picture = render_picture(
                model,
                camera,
                c2w,
                samples=request.samples,
                flight=request.flight,
                only_expert=request.expert,
                should_stop=must_stop,
            )
        except JobCancelled as error:
            if should_stop():
                raise
            raise TooSlowError(
                f"The picture took longer than {RENDER_LIMIT_S:.0f} s: ask for fewer pixels or samples."
            ) from error
        finally:
            self._beats.pop(call, None)
        is_depth_picture = request.layer == "depth" and request.format != "npy"
        range_m = depth_range_m(picture.depth_m, picture.opacity) if is_depth_picture else None
        return RenderedFile(
            data=encode_layer(picture, request.layer, request.format, range_m),
            media_type=MEDIA_TYPES[request.format],
            scene=model.scene_name,
            step=loaded.manifest.step,
            flight=request.flight or (model.flights[0] if model.flights else ""),
            render_s=time.monotonic() - start,
            depth_range_m=range_m,
        )

    def manifests(self) -> list[tuple[str, list[int], Manifest | str]]:
        """(job, its complete steps, manifest of the newest or what is wrong with it), newest first."""
        found = []
        for folder in self.out_root.glob("*/checkpoints"):
            steps = complete_steps(str(folder))
            if not steps:
                continue
            try:
                newest: Manifest | str = read_manifest(resolve_checkpoint(str(folder), "last"))
            except CheckpointError as error:
                newest = str(error)
            found.append((folder.stat().st_mtime, folder.parent.name, steps, newest))
        return [(job, steps, newest) for _, job, steps, newest in sorted(found, key=lambda f: (-f[0], f[1]))]

    def prove(self) -> str:
        """Load and render 8 x 8 pixels of the newest usable checkpoint; says what was rendered.

        Raises:
            AnerfError: rendering fails.
        """
        for job, steps, newest in self.manifests():
            if isinstance(newest, str):
                continue
            probe = _probe(job, steps[-1], newest)
            try:
                seen = self.render(probe, lambda: False)
            except (NotFoundError, DamagedError) as error:
                _log.warning("%s", error)
                continue
            return f"{job}, step {seen.step}, 8 x 8 pixels in {seen.render_s * 1000:.0f} ms"
        return "nothing rendered: no usable checkpoint yet"

    def check_alive(self) -> None:
        """Refuse to be called healthy while a render makes no progress.

        Raises:
            RuntimeError: no chunk of rays was finished for a minute.
        """
        oldest = min(self._beats.copy().values(), default=None)
        if oldest is not None and time.monotonic() - oldest > _STUCK_AFTER_S:
            raise RuntimeError(f"a render made no progress for {time.monotonic() - oldest:.0f} s")

    def _load(self, named: str, prefix: str) -> _Loaded:
        place = inside(self.out_root, named)
        step_folder = _or(NotFoundError, lambda: resolve_checkpoint(str(place), prefix))
        step_folder = str(inside(self.out_root, step_folder))
        try:
            written_ns = (Path(step_folder) / "manifest.json").stat().st_mtime_ns
        except FileNotFoundError as error:
            raise NotFoundError(f"Checkpoint {named!r} is being replaced: ask again.") from error

        def load() -> _Loaded:
            return _Loaded(load_scene_model(step_folder, "last"), read_manifest(step_folder))

        return _or(DamagedError, lambda: self._models.get((step_folder, written_ns), load))


def _or(kind: type[Exception], attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except AnerfError as error:
        raise kind(str(error)) from error


def _probe(job: str, step: int, manifest: Manifest) -> RenderRequest:
    (x0, y0, _), (x1, y1, z1) = manifest.scene.aabb
    down = [[1.0, 0.0, 0.0, (x0 + x1) / 2], [0.0, 1.0, 0.0, (y0 + y1) / 2], [0.0, 0.0, 1.0, z1 + 10.0]]
    return RenderRequest(checkpoint=job, prefix=f"step{step}", c2w=down, width=8, height=8, samples=8)

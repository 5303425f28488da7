"""Renders parts of what clients ask for, with the experts that it takes. Knows no web server."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64

from anerf.checkpoint.load import expert_box, field_setting, load_expert_model, load_shared, scene_model
from anerf.checkpoint.location import local_path
from anerf.checkpoint.manifest import Manifest, read_manifest
from anerf.checkpoint.shards import map_shard, read_shard
from anerf.errors import AnerfError, InputError, JobCancelled
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import rays_from_pixels
from anerf.products.colormap import to_uint8
from anerf.render.expert import ExpertModel, FieldSetting
from anerf.render.frustum import in_view, meeting_rays
from anerf.render.normals import surface_normals
from anerf.render.picture import pixel_centers, render_picture, render_rays
from anerf.render.samples import March, Sampling
from anerf.render.scene_model import SceneModel
from anerf.render.view import SURFACE_OPACITY, Picture, SeenRays
from serve_apps.cache import CacheState, LruCache
from serve_apps.parts import Shown, Spot, TilePart
from serve_apps.requests import MAX_DEADLINE_S, PickRequest, RaysQuery, RenderRequest, View
from serve_apps.source import DamagedError, Source, or_as
from serve_apps.views import camera_of, pose_of

CACHE_BYTES = 2 << 30
CHECKPOINTS_OPEN = 16
QUALITIES = {"draft": (8, 128), "normal": (16, 256), "fine": (48, 512)}
"""Samples of a ray: by importance, and at most in a march."""
_STUCK_AFTER_S = 60.0


class TooSlowError(AnerfError):
    """It took longer than a request may."""


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint without its experts."""

    folder: str
    manifest: Manifest
    spec: FieldSpec
    setting: FieldSetting
    shared: dict[str, np.ndarray]


class Running(Protocol):
    """A running job's scene at one step; `mark` names it."""

    @property
    def mark(self) -> str: ...

    @property
    def step(self) -> int: ...

    @property
    def model(self) -> SceneModel: ...

    @property
    def manifest(self) -> Manifest: ...


class RenderService:
    """Parts of pictures and rays; safe to call from several threads.

    Experts are mapped from their shards when a view first needs them, and stay until others need the room.

    Args:
        cache_bytes: Of experts' parameters that may be mapped beyond those in use.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._checkpoints: LruCache[Source, _Checkpoint] = LruCache(CHECKPOINTS_OPEN)
        self._experts: LruCache[Any, ExpertModel] = LruCache(cache_bytes, _bytes_of)
        self._beats: dict[object, float] = {}

    def tile(
        self,
        source: Source | Running,
        request: RenderRequest,
        rows: tuple[int, int],
        should_stop: Callable[[], bool],
    ) -> TilePart:
        """These rows of the picture that `request` describes.

        Raises:
            DamagedError: the checkpoint is damaged. InputError: pose, flight or expert do not fit the scene.
            JobCancelled: `should_stop` said so. TooSlowError: it took longer than any request may.
        """
        start = time.monotonic()
        checkpoint = self._open(source)
        camera, c2w = camera_of(request), pose_of(request, _reference(checkpoint))
        # A normal needs its pixel's neighbours.
        margin = 1 if request.layer == "normals" else 0
        wide = max(rows[0] - margin, 0), min(rows[1] + margin, request.height)
        with self._beating(should_stop) as must_stop:
            chosen = in_view(
                camera, c2w, _boxes(checkpoint), rows=wide, near_m=request.near_m, far_m=request.far_m
            )
            model = self._model(checkpoint, chosen, request.sampler, request.expert, c2w[:, 3])
            picture = render_picture(
                model,
                camera,
                c2w,
                samples=_samples(model, request),
                flight=request.flight,
                only_expert=_index_of(model, request.expert),
                rows=wide,
                near_m=request.near_m,
                far_m=request.far_m,
                should_stop=must_stop,
            )
        values = _layer(model, picture, camera, c2w, wide, request)
        inner = slice(rows[0] - wide[0], rows[1] - wide[0])
        return TilePart(
            values=values[inner],
            opacity=picture.opacity[inner],
            shown=self._shown(checkpoint, request.flight),
            render_s=time.monotonic() - start,
            experts=model.expert_ids,
        )

    def rays(
        self,
        source: Source | Running,
        query: RaysQuery,
        rays: Float32[np.ndarray, "n c"],
        should_stop: Callable[[], bool],
    ) -> tuple[SeenRays, Shown]:
        """What rays see: columns are origin (ENU metres), unit direction, and near and far where there are 8.

        Raises:
            As `tile`; InputError also for rays that are none.
        """
        _check_rays(rays)
        checkpoint = self._open(source)
        origins, directions = rays[:, :3].astype(np.float64), rays[:, 3:6].astype(np.float64)
        limits = {"near_m": rays[:, 6], "far_m": rays[:, 7]} if rays.shape[1] == 8 else {}
        seen = self._seen(checkpoint, query, origins, directions, should_stop, **limits)
        return seen, self._shown(checkpoint, query.flight)

    def pick(
        self, source: Source | Running, request: PickRequest, should_stop: Callable[[], bool]
    ) -> tuple[list[Spot | None], Shown]:
        """Where the view's pixels lie on the surface; None where a pixel shows none.

        Raises:
            As `tile`.
        """
        checkpoint = self._open(source)
        camera, c2w = camera_of(request), torch.from_numpy(pose_of(request, _reference(checkpoint)))
        xy = torch.tensor(request.pixels, dtype=torch.float64)
        origins, directions = (rays.numpy() for rays in rays_from_pixels(camera, c2w, xy))
        n = np.ones(len(origins))
        limits = {"near_m": request.near_m * n, "far_m": request.far_m * n}
        seen = self._seen(checkpoint, request, origins, directions, should_stop, **limits)
        enu = origins + directions * seen.depth_m[:, None]
        places = enu_to_geodetic(enu, _reference(checkpoint))
        spots = [
            Spot(
                *(float(v) for v in places[i]),
                enu_m=(float(enu[i, 0]), float(enu[i, 1]), float(enu[i, 2])),
                depth_m=float(seen.depth_m[i]),
                opacity=float(seen.opacity[i]),
                expert=int(seen.expert[i]),
            )
            if seen.opacity[i] >= SURFACE_OPACITY
            else None
            for i in range(len(enu))
        ]
        return spots, self._shown(checkpoint, request.flight)

    @property
    def cache(self) -> CacheState:
        """What is in memory, in bytes of experts' parameters."""
        return self._experts.state

    def check_alive(self) -> None:
        """Refuse to be called healthy while a render makes no progress.

        Raises:
            RuntimeError: no chunk of rays was finished for a minute.
        """
        oldest = min(self._beats.copy().values(), default=None)
        if oldest is not None and time.monotonic() - oldest > _STUCK_AFTER_S:
            raise RuntimeError(f"a render made no progress for {time.monotonic() - oldest:.0f} s")

    def _seen(
        self,
        checkpoint: _Checkpoint | Running,
        query: View | RaysQuery,
        origins: Float64[np.ndarray, "n 3"],
        directions: Float64[np.ndarray, "n 3"],
        should_stop: Callable[[], bool],
        **limits: np.ndarray,
    ) -> SeenRays:
        """What rays see between their limits, with the experts' numbers in the partition."""
        with self._beating(should_stop) as must_stop:
            chosen = meeting_rays(origins, directions, _boxes(checkpoint))
            model = self._model(checkpoint, chosen, query.sampler, query.expert, origins[0])
            seen = render_rays(
                model,
                origins,
                directions,
                samples=_samples(model, query),
                flight=query.flight,
                only_expert=_index_of(model, query.expert),
                should_stop=must_stop,
                **limits,
            )
        return replace(seen, expert=_named(model, seen.expert))

    @contextmanager
    def _beating(self, should_stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
        """What to ask between chunks of rays: each question is a sign of life too."""
        start, call = time.monotonic(), object()

        def must_stop() -> bool:
            self._beats[call] = time.monotonic()
            return should_stop() or time.monotonic() - start > MAX_DEADLINE_S

        try:
            yield must_stop
        except JobCancelled as error:
            if should_stop():
                raise
            raise TooSlowError(
                f"It took longer than {MAX_DEADLINE_S:.0f} s: ask for fewer pixels or samples."
            ) from error
        finally:
            self._beats.pop(call, None)

    def _open(self, source: Source | Running) -> _Checkpoint | Running:
        if not isinstance(source, Source):
            return source

        def load() -> _Checkpoint:
            manifest = read_manifest(source.folder)
            spec, setting = field_setting(manifest, torch.device("cpu"))
            return _Checkpoint(
                source.folder, manifest, spec, setting, load_shared(source.folder, manifest, spec)
            )

        return or_as(DamagedError, lambda: self._checkpoints.get(source, load))

    def _model(
        self,
        checkpoint: _Checkpoint | Running,
        wanted: Sequence[bool] | np.ndarray,
        sampler: str | None,
        only: int | None,
        eye: Float[np.ndarray, "3"],
    ) -> SceneModel:
        """The scene with the wanted experts; at least one, since somebody has to show the background."""
        manifest, chosen = checkpoint.manifest, np.array(wanted)
        if only is not None:
            if only >= len(chosen):
                raise InputError(f"expert {only} does not exist: the checkpoint has 0 to {len(chosen) - 1}")
            chosen[only] = True
        if not isinstance(checkpoint, _Checkpoint):
            return checkpoint.model.sampled(sampler, None)
        if not chosen.any():
            chosen[np.linalg.norm(np.array(manifest.partition.centroids) - eye, axis=1).argmin()] = True
        ids = [int(i) for i in np.flatnonzero(chosen)]
        models = or_as(DamagedError, lambda: tuple(self._expert(checkpoint, i) for i in ids))
        model = scene_model(manifest, checkpoint.spec, checkpoint.setting, models, checkpoint.shared, ids)
        return model.sampled(sampler, None)

    def _expert(self, checkpoint: _Checkpoint, expert: int) -> ExpertModel:
        record = checkpoint.manifest.shards.get(expert)
        # Equal shards are the same expert, whichever checkpoint they lie in, as long as it is read alike.
        key = (record and record.sha256, expert_box(checkpoint.manifest, expert), checkpoint.setting.layout)
        read = read_shard if local_path(checkpoint.folder) is None else map_shard
        return self._experts.get(
            key,
            lambda: load_expert_model(
                checkpoint.folder, checkpoint.manifest, expert, checkpoint.setting, read
            ),
        )

    def _shown(self, checkpoint: _Checkpoint | Running, flight: str | None) -> Shown:
        manifest = checkpoint.manifest
        shown = Shown(manifest.scene.name, manifest.step, flight or next(iter(manifest.flights), ""))
        if isinstance(checkpoint, _Checkpoint):
            return shown
        return replace(shown, step=checkpoint.step, mark=checkpoint.mark)


def _boxes(checkpoint: _Checkpoint | Running) -> list[Aabb]:
    """Of the experts, in ENU metres."""
    return [Aabb(*box) for box in checkpoint.manifest.partition.boxes]


def _reference(checkpoint: _Checkpoint | Running) -> GeodeticReference:
    return GeodeticReference(*checkpoint.manifest.scene.reference)


def _bytes_of(expert: ExpertModel) -> int:
    tensors = (*expert.params.tensors(), expert.grid.values)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _samples(model: SceneModel, request: View | RaysQuery) -> Sampling | March:
    by_importance, at_most = QUALITIES[request.quality]
    chosen = at_most if model.spec.sampler == "march" else by_importance
    return model.sampling(chosen if request.samples is None else request.samples)


def _index_of(model: SceneModel, expert: int | None) -> int | None:
    return None if expert is None else model.expert_ids.index(expert)


def _named(model: SceneModel, expert: np.ndarray) -> np.ndarray:
    """Numbers in the partition from places among those that are here; -1 stays."""
    return np.array([*model.expert_ids, -1], np.int16)[expert]


def _layer(
    model: SceneModel,
    picture: Picture,
    camera: Camera,
    c2w: Float[np.ndarray, "3 4"],
    rows: tuple[int, int],
    request: RenderRequest,
) -> np.ndarray:
    match request.layer:
        case "rgb":
            # What will be bytes travels as bytes.
            return picture.rgb if request.format == "npy" else to_uint8(picture.rgb)
        case "depth":
            return picture.depth_m
        case "opacity":
            return picture.opacity
        case "expert":
            return _named(model, picture.expert)
        case "normals":
            xy = pixel_centers(camera)[rows[0] * camera.width : rows[1] * camera.width].double()
            _, directions = rays_from_pixels(camera, torch.from_numpy(c2w), xy)
            directions = directions.numpy().reshape(*picture.depth_m.shape, 3)
            points = c2w[:, 3] + directions * picture.depth_m[..., None]
            seen = picture.opacity >= SURFACE_OPACITY
            return surface_normals(points, directions, seen).astype(np.float32)


def _check_rays(rays: Float32[np.ndarray, "n c"]) -> None:
    finite = np.isfinite(rays[:, :7]).all(axis=1)
    unit = np.abs(np.linalg.norm(rays[:, 3:6].astype(np.float64), axis=1) - 1) < 1e-3
    near = np.abs(rays[:, :3]).max(axis=1) <= 1e6
    ordered = np.ones(len(rays), bool)
    if rays.shape[1] == 8:
        ordered = (rays[:, 6] >= 0) & (rays[:, 7] > rays[:, 6])
    bad = np.flatnonzero(~(finite & unit & near & ordered))
    if len(bad):
        raise InputError(
            f"Ray {bad[0]} of this batch is {rays[bad[0]].tolist()}: give an origin within 1,000 km, a "
            "direction of length 1, and a near that is at least 0 and less than far, all float32."
        )

"""Measuring a scene on photographs: which views, which look, what they score."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from anerf.errors import SceneError
from anerf.learn.exposure import expected_exposure
from anerf.learn.lpips import Lpips
from anerf.learn.metrics import depth_errors_m, psnr, ssim
from anerf.learn.rays import flight_of
from anerf.render.color import from_srgb
from anerf.render.exposure import exposed
from anerf.render.picture import Picture, render_picture
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import PixelStore
from anerf.scene.scene import Scene
from anerf.scene.truth import read_truth

SUPPORT_PERIOD = 3
PSNR_CAP_DB = 99.0  # of equal pictures, whose PSNR is infinite and cannot stand in JSON
LEAST_AREA_PX = 200  # a smaller part of a view says nothing by itself


@dataclass(frozen=True)
class ViewScore:
    """One view's scores in sRGB.

    Where exposures were learned, `psnr_db` and all others are those of the view as its camera would probably
    expose it (`expected_exposure`): nothing of the photograph is used. `mean_look_psnr_db` is that of the
    flight's own look, the one that the viewer shows, `fitted_psnr_db` after an affine colour fit to the
    photograph.

    `role` says what the view was to the adaptation: `new` (of the new flight, never adapted on) or `old`.

    Errors of depth, in metres along the ray, are over unmasked pixels whose depth the scene knows; `changed`
    is the part of the view that the event changed, `unchanged` the other (see `anerf.scene.truth`). They are
    None where the scene does not know, or the part has fewer than `LEAST_AREA_PX` pixels.
    """

    file: str
    split: str
    role: str
    tto: int
    psnr_db: float
    mean_look_psnr_db: float
    fitted_psnr_db: float
    ssim: float
    lpips: float | None
    seconds: float
    depth_median_m: float | None = None
    depth_mean_m: float | None = None
    depth_changed_median_m: float | None = None
    psnr_changed_db: float | None = None
    psnr_unchanged_db: float | None = None

    @property
    def view(self) -> str:
        """The photograph's path below the scene's `images/`."""
        return self.file.removeprefix("images/")


SCORES = (
    "psnr_db",
    "mean_look_psnr_db",
    "fitted_psnr_db",
    "ssim",
    "lpips",
    "depth_median_m",
    "depth_mean_m",
    "depth_changed_median_m",
    "psnr_changed_db",
    "psnr_unchanged_db",
)  # those of a `ViewScore` that have means


@dataclass(frozen=True)
class ScoredView:
    """A rendered view beside its photograph (both sRGB in [0, 1])."""

    score: ViewScore
    picture: Picture
    truth: Float[np.ndarray, "h w 3"]


def support_and_query(files: list[str]) -> tuple[list[int], list[int]]:
    """Split a batch of photographs, in name order, into those adapted on and those only measured on.

    Every third one (numbers 1, 4, 7, …) is measured on. Returns positions in `files`.

    Raises:
        SceneError: fewer than two photographs leave nothing to measure on.
    """
    if len(files) < 2:
        raise SceneError(f"a batch of {len(files)} photograph leaves no view to measure on: bring at least 2")
    order = sorted(range(len(files)), key=lambda i: files[i])
    query = [i for k, i in enumerate(order) if k % SUPPORT_PERIOD == 1]
    support = [i for k, i in enumerate(order) if k % SUPPORT_PERIOD != 1]
    return support, query


def color_fitted(
    rgb: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """The picture under the affine colour map (3 x 4, least squares) that brings it closest to the truth."""
    source = np.concatenate([rgb[mask], np.ones((int(mask.sum()), 1), rgb.dtype)], axis=1)
    fit, *_ = np.linalg.lstsq(source, truth[mask], rcond=None)
    mapped = np.concatenate([rgb, np.ones((*rgb.shape[:2], 1), rgb.dtype)], axis=2) @ fit
    return np.clip(mapped, 0, 1).astype(np.float32)


def score_view(
    model: SceneModel,
    scene: Scene,
    pixels: PixelStore,
    index: int,
    *,
    role: str,
    tto: int,
    samples: int,
    lpips: Lpips | None,
) -> ScoredView:
    """Render the view of frame `index` (into `scene.frames`) as on its own flight and score it.

    Raises:
        InputError: what the scene knows about the view is damaged.
    """
    frame = scene.frames[index]
    started = time.perf_counter()
    own = flight_of(frame.split)
    flight = own if own in model.flights else None  # before adapting, a new flight has no look of its own
    raw = render_picture(  # as experts answer; maps are applied below
        replace(model, exposures=None), pixels.camera(index), frame.c2w, samples=samples, flight=flight
    )
    seconds = time.perf_counter() - started
    truth = pixels.image(index).astype(np.float32) / 255
    mask = np.asarray(pixels.mask(index))
    known = read_truth(scene, frame, pixels.camera(index))
    changed = None if known.changed is None else mask & known.changed
    unchanged = None if known.changed is None else mask & ~known.changed
    depth_errors = _depth_errors(raw.depth_m, known.depth_m, mask)
    look = model.look_of(flight)
    mean_look = raw.rgb if look is None else exposed(raw.rgb, look, model.spec.color_space)
    picture = replace(raw, rgb=_as_expected(model, scene, index, raw.rgb, mask))
    rgb = picture.rgb
    score = ViewScore(
        file=frame.file,
        split=frame.split,
        role=role,
        tto=tto,
        psnr_db=_finite(psnr(rgb, truth, mask)),
        mean_look_psnr_db=_finite(psnr(mean_look.astype(np.float32), truth, mask)),
        fitted_psnr_db=_finite(psnr(color_fitted(rgb, truth, mask), truth, mask)),
        ssim=ssim(rgb, truth, mask),
        lpips=None if lpips is None else lpips(rgb, truth),
        seconds=seconds,
        depth_median_m=_if_any(np.median, depth_errors),
        depth_mean_m=_if_any(np.mean, depth_errors),
        depth_changed_median_m=_if_any(np.median, _depth_errors(picture.depth_m, known.depth_m, changed)),
        psnr_changed_db=_psnr_of_part(rgb, truth, changed),
        psnr_unchanged_db=_psnr_of_part(rgb, truth, unchanged),
    )
    return ScoredView(score, picture, truth)


def _as_expected(
    model: SceneModel,
    scene: Scene,
    index: int,
    rgb: Float[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    if model.exposures is None:
        return rgb
    flight = flight_of(scene.frames[index].split)
    taken = [frame for frame in scene.frames if flight_of(frame.split) == flight]
    timed = all(frame.captured_at is not None for frame in taken)
    taken.sort(key=lambda frame: (str(frame.captured_at) if timed else "", frame.file))
    exposures = model.exposures.to(torch.device("cpu")).grown(
        torch.zeros(max(frame.id for frame in scene.frames) + 1, dtype=torch.int64)
    )
    shown = from_srgb(torch.from_numpy(rgb[mask.astype(bool)]), model.spec.color_space)
    order = [frame.id for frame in taken]
    exposure = expected_exposure(exposures, order, scene.frames[index].id, shown.mean(0))
    return exposed(rgb, exposure, model.spec.color_space)


def mean_scores(scores: Sequence[ViewScore]) -> dict[str, float]:
    """Mean of each of `SCORES` over the views that have it; what no view has is left out."""
    columns = {name: [getattr(score, name) for score in scores] for name in SCORES}
    known = {name: [v for v in values if v is not None] for name, values in columns.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _depth_errors(
    depth_m: Float[np.ndarray, "h w"],
    truth_m: Float32[np.ndarray, "h w"] | None,
    part: Bool[np.ndarray, "h w"] | None,
) -> Float[np.ndarray, " n"]:
    """Errors in metres; none where nobody knows, or only for too few pixels."""
    if truth_m is None or part is None:
        return np.empty(0)
    errors = depth_errors_m(depth_m, truth_m, part)
    return errors if errors.size >= LEAST_AREA_PX else np.empty(0)


def _if_any(mean: Callable[[np.ndarray], np.floating], errors: Float[np.ndarray, " n"]) -> float | None:
    return float(mean(errors)) if errors.size else None


def _psnr_of_part(
    rgb: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], part: Bool[np.ndarray, "h w"] | None
) -> float | None:
    if part is None or part.sum() < LEAST_AREA_PX:
        return None
    return _finite(psnr(rgb, truth, part))


def _finite(db: float) -> float:
    return min(db, PSNR_CAP_DB) if math.isfinite(db) else PSNR_CAP_DB

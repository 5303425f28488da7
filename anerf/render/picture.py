"""Pictures of a scene from any camera, and what single rays see."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import InputError, JobCancelled
from anerf.geometry.cameras import Camera
from anerf.render.color import to_srgb
from anerf.render.cpu_rays import camera_rays
from anerf.render.exposure import exposed_rays
from anerf.render.samples import March, Sampling
from anerf.render.scene_model import SceneModel, render_scene_rays
from anerf.render.view import Picture, SeenRays

__all__ = ["Picture", "SeenRays", "pixel_centers", "render_picture", "render_rays"]

SAMPLES_AT_ONCE = 1 << 20  # a table that was read stays in the caches longer; they take some 250 MB
_MARCHED = 64  # samples of a ray to reckon with in a march, which mostly ends long before its limit


def pixel_centers(camera: Camera) -> Float[Tensor, "n 2"]:
    """Positions of all pixels, row by row."""
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5


def c2w_in_learning_frame(
    c2w: Float[np.ndarray, "3 4"], origin: tuple[float, float, float], scale: float
) -> Float[Tensor, "3 4"]:
    """A pose in ENU metres moved into the learning frame; float32 only after the origin is gone."""
    pose = np.array(c2w, dtype=np.float64)[:3, :4].copy()
    pose[:, 3] = (pose[:, 3] - np.array(origin)) / scale
    return torch.from_numpy(pose).float()


def render_picture(
    model: SceneModel,
    camera: Camera,
    c2w: Float[np.ndarray, "3 4"],
    *,
    samples: int | Sampling | March = 16,
    flight: str | None = None,
    only_expert: int | None = None,
    rows: tuple[int, int] | None = None,
    near_m: float = 0.0,
    far_m: float = float("inf"),
    should_stop: Callable[[], bool] | None = None,
) -> Picture:
    """Render a view as on `flight` (the first one where None).

    Args:
        model: the scene.
        camera: intrinsics and size.
        c2w: pose in ENU metres, OpenGL axes.
        samples: of a ray, as the scene is sampled (`SceneModel.sampling`), or another way to sample.
        flight: whose look to show.
        only_expert: index of the only expert to show.
        rows: from which row of pixels to which (exclusive); all where None.
        near_m, far_m: nothing nearer or farther along the ray is seen.
        should_stop: asked between chunks of rays.

    Raises:
        InputError: unknown flight or expert.
        JobCancelled: `should_stop` said so.
    """
    first, end = (0, camera.height) if rows is None else rows
    pose = c2w_in_learning_frame(c2w, model.origin, model.scale)
    one = torch.zeros(1, dtype=torch.int32)
    xy = pixel_centers(camera)[first * camera.width : end * camera.width]
    sampling = _within(_sampling(model, samples), near_m / model.scale, far_m / model.scale)

    def rays() -> Iterator[tuple[Tensor, Tensor, None]]:
        for chunk in xy.split(_rays_at_once(sampling)):
            yield *camera_rays([camera], one, pose[None], one.expand(len(chunk)), chunk), None

    seen = _render(model, rays(), sampling, flight, only_expert, should_stop)
    return seen.picture(end - first, camera.width)


def render_rays(
    model: SceneModel,
    origins_m: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    *,
    samples: int | Sampling | March = 16,
    flight: str | None = None,
    only_expert: int | None = None,
    near_m: Float[np.ndarray, " n"] | None = None,
    far_m: Float[np.ndarray, " n"] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> SeenRays:
    """What rays from ENU metres along unit directions see; all else as `render_picture`.

    A ray with its own `near_m` starts there (`depth_m` still counts from its origin). What it would meet
    beyond its own `far_m` is cut off after samples were placed, so a short piece of a ray has few.
    """
    start = np.asarray(origins_m, np.float64)
    if near_m is not None:
        start = start + np.asarray(near_m, np.float64)[:, None] * directions
    rays_o = torch.from_numpy((start - np.array(model.origin)) / model.scale).float()
    rays_d = torch.from_numpy(np.array(directions, np.float32))
    t_max = None
    if far_m is not None:
        reach_m = np.asarray(far_m, np.float64) - (0 if near_m is None else near_m)
        t_max = torch.from_numpy(reach_m / model.scale).float()
    sampling = _sampling(model, samples)

    def rays() -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        at_once = _rays_at_once(sampling)
        for i in range(0, len(rays_o), at_once):
            part = slice(i, i + at_once)
            yield rays_o[part], rays_d[part], None if t_max is None else t_max[part]

    seen = _render(model, rays(), sampling, flight, only_expert, should_stop)
    if near_m is None:
        return seen
    depth_m = np.where(seen.depth_m > 0, seen.depth_m + near_m, 0).astype(np.float32)
    return replace(seen, depth_m=depth_m)


def _sampling(model: SceneModel, samples: int | Sampling | March) -> Sampling | March:
    return model.sampling(samples) if isinstance(samples, int) else samples


def _within(sampling: Sampling | March, near: float, far: float) -> Sampling | March:
    return replace(sampling, t_min=max(sampling.t_min, near), t_max=min(sampling.t_max, far))


def _rays_at_once(sampling: Sampling | March) -> int:
    of_a_ray = sampling.n_samples if isinstance(sampling, Sampling) else min(sampling.max_samples, _MARCHED)
    return max(1, SAMPLES_AT_ONCE // of_a_ray)


@torch.no_grad()
def _render(
    model: SceneModel,
    rays: Iterator[tuple[Tensor, Tensor, Tensor | None]],
    sampling: Sampling | March,
    flight: str | None,
    only_expert: int | None,
    should_stop: Callable[[], bool] | None,
) -> SeenRays:
    """Chunks of rays (origins, directions, ends; learning frame) as one; at least one chunk."""
    if only_expert is not None and not 0 <= only_expert < len(model.models):
        raise InputError(
            f"expert {only_expert} does not exist: the checkpoint has 0 to {len(model.models) - 1}"
        )
    code, look = model.code_of(flight), model.look_of(flight)
    device = model.models[0].params.grid.device
    parts = []
    for rays_o, rays_d, t_max in rays:
        if should_stop is not None and should_stop():
            raise JobCancelled("the picture is no longer wanted")
        ends = None if t_max is None else t_max.to(device)
        seen = render_scene_rays(
            model, rays_o.to(device), rays_d.to(device), code, sampling, only_expert, ends
        )
        rgb = seen.composite.rgb if look is None else exposed_rays(seen.composite.rgb, look)
        rgb = to_srgb(rgb, model.spec.color_space)
        depth_m = torch.where(seen.composite.opacity > 1e-3, seen.surface_t * model.scale, 0.0)
        parts.append([v.cpu() for v in (rgb, depth_m, seen.composite.opacity, seen.expert)])
    rgb, depth_m, opacity, expert = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return SeenRays(rgb, depth_m, opacity, expert.astype(np.int16))

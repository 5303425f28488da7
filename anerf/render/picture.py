"""Pictures of a scene from any camera."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int16

from anerf.errors import InputError, JobCancelled
from anerf.geometry.cameras import Camera
from anerf.render.color import to_srgb
from anerf.render.cpu_rays import camera_rays
from anerf.render.exposure import exposed_rays
from anerf.render.samples import March, Sampling
from anerf.render.scene_model import SceneModel, render_scene_rays

SAMPLES_AT_ONCE = 1 << 20  # a table that was read stays in the caches longer; they take some 250 MB
_MARCHED = 64  # samples of a ray to reckon with in a march, which mostly ends long before its limit


@dataclass(frozen=True)
class Picture:
    """A rendered view. `depth_m` to the surface along the ray (0 where nothing), `expert` -1 where none."""

    rgb: Float[np.ndarray, "h w 3"]
    depth_m: Float[np.ndarray, "h w"]
    opacity: Float[np.ndarray, "h w"]
    expert: Int16[np.ndarray, "h w"]


def pixel_centers(camera: Camera) -> Float[torch.Tensor, "n 2"]:
    """Positions of all pixels, row by row."""
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5


def c2w_in_learning_frame(
    c2w: Float[np.ndarray, "3 4"], origin: tuple[float, float, float], scale: float
) -> Float[torch.Tensor, "3 4"]:
    """A pose in ENU metres moved into the learning frame; float32 only after the origin is gone."""
    pose = np.array(c2w, dtype=np.float64)[:3, :4].copy()
    pose[:, 3] = (pose[:, 3] - np.array(origin)) / scale
    return torch.from_numpy(pose).float()


def _rays(camera: Camera, pose: torch.Tensor, xy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    one = torch.zeros(1, dtype=torch.int32)
    return camera_rays([camera], one, pose[None], one.expand(len(xy)), xy)


def _rays_at_once(sampling: Sampling | March) -> int:
    of_a_ray = sampling.n_samples if isinstance(sampling, Sampling) else min(sampling.max_samples, _MARCHED)
    return max(1, SAMPLES_AT_ONCE // of_a_ray)


@torch.no_grad()
def render_picture(
    model: SceneModel,
    camera: Camera,
    c2w: Float[np.ndarray, "3 4"],
    *,
    samples: int | Sampling | March = 16,
    flight: str | None = None,
    only_expert: int | None = None,
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
        should_stop: asked between chunks of rays.

    Raises:
        InputError: unknown flight or expert.
        JobCancelled: `should_stop` said so.
    """
    if only_expert is not None and not 0 <= only_expert < len(model.models):
        raise InputError(
            f"expert {only_expert} does not exist: the checkpoint has 0 to {len(model.models) - 1}"
        )
    code, look = model.code_of(flight), model.look_of(flight)
    device = model.models[0].params.grid.device
    pose = c2w_in_learning_frame(c2w, model.origin, model.scale)
    sampling = model.sampling(samples) if isinstance(samples, int) else samples
    parts = []
    for xy in pixel_centers(camera).split(_rays_at_once(sampling)):
        if should_stop is not None and should_stop():
            raise JobCancelled("the picture is no longer wanted")
        rays_o, rays_d = (v.to(device) for v in _rays(camera, pose, xy))
        seen = render_scene_rays(model, rays_o, rays_d, code, sampling, only_expert)
        rgb = seen.composite.rgb if look is None else exposed_rays(seen.composite.rgb, look)
        rgb = to_srgb(rgb, model.spec.color_space)
        depth_m = torch.where(seen.composite.opacity > 1e-3, seen.surface_t * model.scale, 0.0)
        parts.append([v.cpu() for v in (rgb, depth_m, seen.composite.opacity, seen.expert)])
    rgb, depth_m, opacity, expert = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    shape = (camera.height, camera.width)
    return Picture(
        rgb.reshape(*shape, 3),
        depth_m.reshape(shape),
        opacity.reshape(shape),
        expert.astype(np.int16).reshape(shape),
    )

"""Milliseconds and PSNR of one view, by how its rays are sampled."""

from dataclasses import dataclass, replace
from functools import partial

from anerf.bench.stages import CountingBackend, Stages, watch
from anerf.bench.timing import Progress, Steps, interleaved, seconds_of
from anerf.bench.views import View
from anerf.field.threads import kernel_threads, n_threads
from anerf.learn.evaluate import PSNR_CAP_DB
from anerf.learn.metrics import psnr
from anerf.render.picture import Picture, render_picture
from anerf.render.samples import March, Sampling
from anerf.render.scene_model import SceneModel

REFERENCE_COARSE = 256
MARCH_OPACITY = 0.01  # a cell through which less is lost counts as empty


@dataclass(frozen=True)
class RenderPlan:
    """Importance samples a ray, steps of the march in cells of the density grid, samples of the reference,
    and of how many frames the median is taken; the reference is rendered once.
    """

    samples: tuple[int, ...] = (8, 12, 16)
    march_cells: tuple[float, ...] = (0.5, 1.0, 2.0)
    reference_samples: int = 512
    rounds: int = 5


@dataclass(frozen=True)
class RenderRow:
    """One way of sampling: `ms` is the median of `frames` frames.

    `samples_per_ray` counts what fields evaluated; one where two experts blend counts twice. PSNR in dB, in
    sRGB: against the photograph where the view has one, and against the reference.
    """

    sampling: str
    frames: int
    ms: float
    samples_per_ray: float
    photograph_psnr_db: float | None
    reference_psnr_db: float | None
    stages: dict[str, float]


@dataclass(frozen=True)
class RenderSpeeds:
    """All ways, the reference last. `cell_m` is the shortest side of a cell of the density grids."""

    view: str
    width: int
    height: int
    experts: int
    cell_m: float
    rows: tuple[RenderRow, ...]


def measure_render(
    model: SceneModel, view: View, plan: RenderPlan, progress: Progress | None = None
) -> RenderSpeeds:
    """Render the view in every way, taking turns, then once more each to see where the time goes.

    The model is on the CPU; our kernels have all threads and torch has one, as in the endpoint.
    """
    with kernel_threads(n_threads()):
        return _measure(model, view, plan, progress)


def _measure(model: SceneModel, view: View, plan: RenderPlan, progress: Progress | None) -> RenderSpeeds:
    ways = _ways(model, plan)
    done = Steps(plan.rounds + len(ways) + 1, progress)
    frames = {name: partial(_render, model, view, sampling) for name, sampling in ways.items()}
    seconds = interleaved(
        {name: partial(seconds_of, frame) for name, frame in frames.items()}, plan.rounds, done
    )
    name = f"reference {plan.reference_samples}"
    sampling = Sampling(plan.reference_samples, model.spec.sample_floor, n_coarse=REFERENCE_COARSE)
    reference = _watched(model, view, sampling)
    done()
    rows = []
    for way, seen_as in ways.items():
        seen = _watched(model, view, seen_as)
        rows.append(_row(way, plan.rounds, seconds[way], view, seen, reference.picture))
        done()
    rows.append(_row(name, 1, reference.stages.seconds, view, reference, None))
    return RenderSpeeds(
        view=view.name,
        width=view.camera.width,
        height=view.camera.height,
        experts=len(model.models),
        cell_m=shortest_cell(model) * model.scale,
        rows=tuple(rows),
    )


def shortest_cell(model: SceneModel) -> float:
    """Shortest side of a cell of any expert's density grid, in the learning frame."""
    sides = []
    for expert in model.models:
        size = (expert.grid.hi - expert.grid.lo).tolist()
        sides += [side / n for side, n in zip(size, reversed(expert.grid.values.shape), strict=True)]
    return min(sides)


def _ways(model: SceneModel, plan: RenderPlan) -> dict[str, Sampling | March]:
    cell = shortest_cell(model)
    ways: dict[str, Sampling | March] = {
        f"importance {n}": Sampling.of_picture(n, model.spec.sample_floor) for n in plan.samples
    }
    for cells in plan.march_cells:
        ways[f"march {cells:g} cells"] = March(step=cells * cell, threshold=MARCH_OPACITY / cell)
    return ways


def _render(model: SceneModel, view: View, sampling: Sampling | March) -> Picture:
    return render_picture(model, view.camera, view.c2w, samples=sampling, flight=view.flight)


@dataclass(frozen=True, eq=False)
class _Seen:
    picture: Picture
    stages: Stages
    samples_per_ray: float


def _watched(model: SceneModel, view: View, sampling: Sampling | March) -> _Seen:
    counting = CountingBackend()
    counted = replace(model, setting=replace(model.setting, backend=counting))
    pictures: list[Picture] = []
    stages = watch(lambda: pictures.append(_render(counted, view, sampling)))
    return _Seen(pictures[0], stages, counting.n_samples / (view.camera.width * view.camera.height))


def _row(
    name: str, frames: int, seconds: float, view: View, seen: _Seen, reference: Picture | None
) -> RenderRow:
    photograph = view.photograph
    return RenderRow(
        sampling=name,
        frames=frames,
        ms=1e3 * seconds,
        samples_per_ray=seen.samples_per_ray,
        photograph_psnr_db=None
        if photograph is None
        else min(psnr(seen.picture.rgb, photograph.rgb, photograph.mask), PSNR_CAP_DB),
        reference_psnr_db=None
        if reference is None
        else min(psnr(seen.picture.rgb, reference.rgb), PSNR_CAP_DB),
        stages=seen.stages.shares,
    )

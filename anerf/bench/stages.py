"""Where a picture's time goes, told by Python's own profiler: the render code knows nothing of it.

The profiler costs about a microsecond a Python call; a picture makes thousands of calls, not millions, so the
shares hold for pictures that nobody watches.
"""

import cProfile
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, MappingProxyType

from jaxtyping import Float, Int32
from torch import Tensor

from anerf.field.backend import CpuBackend, DensityScale
from anerf.field.layout import FieldLayout
from anerf.field.params import FieldParams
from anerf.render import cpu_blending, cpu_rays
from anerf.render.background import background_color
from anerf.render.expert import draw_samples

REST = "rest"
# The functions behind each stage; none of them calls another.
_STAGES = MappingProxyType(
    {
        "rays": (cpu_rays.camera_rays,),
        "sampling": (draw_samples,),
        "field": (CpuBackend.ray_features, CpuBackend.query),
        # Samples to experts, and their answers together.
        "routing": (cpu_blending.route, cpu_blending.blend, cpu_blending.givers),
        "compositing": (cpu_rays.composite,),
        "background": (background_color,),
    }
)


class CountingBackend(CpuBackend):
    """Our kernels, counting the samples that they evaluate."""

    def __init__(self) -> None:
        super().__init__()
        self.n_samples = 0

    def query(
        self,
        x: Float[Tensor, "n 3"],
        ray_features: Float[Tensor, "r w"],
        ray_index: Int32[Tensor, " n"],
        params: FieldParams,
        layout: FieldLayout,
        scale: DensityScale,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """See `FieldBackend.query`."""
        self.n_samples += len(x)
        return super().query(x, ray_features, ray_index, params, layout, scale)


@dataclass(frozen=True)
class Stages:
    """Seconds of a watched call, and each stage's share of them; shares sum to 1."""

    seconds: float
    shares: dict[str, float]


def watch(render: Callable[[], object]) -> Stages:
    """Call `render` once and tell how long each stage took on our kernels."""

    def whole() -> None:
        render()

    profile = cProfile.Profile()
    profile.runcall(whole)
    spent = {entry.code: entry.totaltime for entry in profile.getstats() if isinstance(entry.code, CodeType)}
    seconds = spent[whole.__code__]
    shares = {
        name: sum(spent.get(function.__code__, 0.0) for function in functions) / seconds
        for name, functions in _STAGES.items()
    }
    return Stages(seconds, shares | {REST: 1 - sum(shares.values())})

"""Which code evaluates the field, chosen by name or by device and said in the log, never silently."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from anerf.errors import BackendError
from anerf.field import cpu_field, torch_field
from anerf.field.layout import FieldLayout, MlpLayout
from anerf.field.library import kernels
from anerf.field.params import FieldParams

log = logging.getLogger(__name__)

INITIAL_DENSITY_PER_M = math.exp(-2.0)


@dataclass(frozen=True)
class DensityScale:
    """Between densities per metre and per learning unit (`scale_m` metres): bias and cap of the logarithm."""

    log_bias: float
    log_cap: float

    @staticmethod
    def of(scale_m: float, cap_per_m: float) -> "DensityScale":
        """From the scene's scale and the highest density that a job allows."""
        return DensityScale(math.log(INITIAL_DENSITY_PER_M * scale_m), math.log(cap_per_m * scale_m))


class FieldBackend(Protocol):
    """The numerical contract: same values and gradients from every backend, within float32 rounding."""

    name: str

    def ray_features(
        self, dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
    ) -> Float[Tensor, "r w"]:
        """What the colour network learns of each ray: its encoded direction, then its flight code."""
        ...

    def background(
        self, dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
    ) -> Float[Tensor, "r 3"]:
        """Colour that the background head sees in each direction."""
        ...

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """Density per learning unit at positions of the unit cube."""
        ...

    def query(
        self,
        x: Float[Tensor, "n 3"],
        ray_features: Float[Tensor, "r w"],
        ray_index: Int32[Tensor, " n"],
        params: FieldParams,
        layout: FieldLayout,
        scale: DensityScale,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Colour and density of samples; `ray_index` tells whose of the `ray_features` each one has."""
        ...


class TorchBackend:
    """Plain autograd on any device, twice differentiable."""

    name = "torch"

    def ray_features(
        self, dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
    ) -> Float[Tensor, "r w"]:
        """See `FieldBackend.ray_features`."""
        return torch_field.ray_features(dirs, code, layout)

    def background(
        self, dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
    ) -> Float[Tensor, "r 3"]:
        """See `FieldBackend.background`."""
        return torch_field.background(dirs, params, layout)

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """See `FieldBackend.density`."""
        return torch_field.density(x, params, layout, scale.log_bias, scale.log_cap)[0]

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
        sigma, geometry = torch_field.density(x, params, layout, scale.log_bias, scale.log_cap)
        return torch_field.color(geometry, ray_features, ray_index, params, layout), sigma


class CpuBackend:
    """Our own kernels on the CPU, differentiable once.

    Raises:
        BackendError: at once, if the kernels are not built.
    """

    name = "cpu"

    def __init__(self) -> None:
        kernels()

    def ray_features(
        self, dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
    ) -> Float[Tensor, "r w"]:
        """See `FieldBackend.ray_features`."""
        return cpu_field.ray_features(dirs, code, layout)

    def background(
        self, dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
    ) -> Float[Tensor, "r 3"]:
        """See `FieldBackend.background`."""
        return cpu_field.background(dirs, params, layout)

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """See `FieldBackend.density`."""
        return cpu_field.density(x, params, layout, scale.log_bias, scale.log_cap)

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
        return cpu_field.query(
            x, ray_features, ray_index, params, layout, scale.log_bias, scale.log_cap
        )  # fmt: skip


def _tcnn() -> FieldBackend:
    from anerf.field.tcnn_field import TcnnBackend  # needs DensityScale from here

    return TcnnBackend()


_BACKENDS: dict[str, Callable[[], FieldBackend]] = {"cpu": CpuBackend, "torch": TorchBackend, "tcnn": _tcnn}


def choose_backend(name: str, device: torch.device) -> FieldBackend:
    """The backend of that name; `auto` takes our kernels on a CPU and torch on a GPU.

    tinycudann computes in half precision and must be built by hand, so it is taken by name only.

    Raises:
        BackendError: if no backend of that name exists, or it cannot be used here; the remedy is named.
    """
    chosen = ("cpu" if device.type == "cpu" else "torch") if name == "auto" else name
    if chosen not in _BACKENDS:
        raise BackendError(f"field backend {name!r} does not exist: use 'auto' or one of {sorted(_BACKENDS)}")
    if chosen == "cpu" and device.type != "cpu":
        raise BackendError(
            f"field backend 'cpu' computes on CPUs, not on {device}: use 'auto', 'torch' or 'tcnn'"
        )
    backend = _BACKENDS[chosen]()
    log.info("field backend %s on %s", chosen, device)
    return backend

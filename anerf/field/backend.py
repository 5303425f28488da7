"""Which code evaluates the field, chosen by name or by device and said in the log, never silently."""

import logging
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import BackendError
from anerf.field import torch_field
from anerf.field.layout import FieldLayout
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

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """Density per learning unit at positions of the unit cube."""
        ...

    def query(
        self,
        x: Float[Tensor, "n 3"],
        dirs: Float[Tensor, "n 3"],
        code: Float[Tensor, "n k"],
        params: FieldParams,
        layout: FieldLayout,
        scale: DensityScale,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Colour and density."""
        ...


class TorchBackend:
    """Plain autograd on any device, twice differentiable."""

    name = "torch"

    def density(
        self, x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, scale: DensityScale
    ) -> Float[Tensor, " n"]:
        """See `FieldBackend.density`."""
        return torch_field.density(x, params, layout, scale.log_bias, scale.log_cap)[0]

    def query(
        self,
        x: Float[Tensor, "n 3"],
        dirs: Float[Tensor, "n 3"],
        code: Float[Tensor, "n k"],
        params: FieldParams,
        layout: FieldLayout,
        scale: DensityScale,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """See `FieldBackend.query`."""
        sigma, geometry = torch_field.density(x, params, layout, scale.log_bias, scale.log_cap)
        return torch_field.color(geometry, dirs, code, params, layout), sigma


_BACKENDS: dict[str, type[FieldBackend]] = {"torch": TorchBackend}


def choose_backend(name: str, device: torch.device) -> FieldBackend:
    """The backend of that name; `auto` takes the best one for the device.

    Raises:
        BackendError: if no backend of that name exists here.
    """
    chosen = "torch" if name == "auto" else name
    if chosen not in _BACKENDS:
        raise BackendError(f"field backend {name!r} does not exist: use 'auto' or one of {sorted(_BACKENDS)}")
    log.info("field backend %s on %s", chosen, device)
    return _BACKENDS[chosen]()

"""tinycudann's modules for a layout: loaded only when asked for, sized and checked before they are used.

tinycudann sizes its grid anew on every machine (host and device each compute the level scales). So a module
is refused if it does not count the parameters that the layout stores, and compared once with the torch twin,
because some changes of a level keep the count. Source: NVlabs/tiny-cuda-nn,
`bindings/torch/tinycudann/modules.py` and `bindings/torch/setup.py`.
"""

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.encoding import encode_grid
from anerf.field.layout import FieldLayout, GridLayout, MlpLayout, level_scale
from anerf.field.params import init_mlp
from anerf.field.torch_field import mlp

FUSED_WIDTHS = (16, 32, 64, 128)  # for which fully_fused_mlp.cu is compiled
FEATURES_PER_LEVEL = (1, 2, 4, 8)  # for which grid.h is compiled
PROBES = 4096
# Half precision costs about 1e-3 and the device's own exp2f 2.4e-7 x resolution; a level of another size or
# matrices in another order are wrong by the order of the values themselves.
PROBE_TOLERANCE = 0.05
# A float32 growth reproduces a level's scale to about its own rounding times the number of levels.
SCALE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class FieldModules:
    """One field's modules; their own parameters are released, callers give theirs."""

    encoding: torch.nn.Module
    sigma_network: torch.nn.Module
    color_network: torch.nn.Module


def cuda_problem() -> str | None:
    """Why torch computes on no CUDA device here, with the remedy; None if it does."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a CUDA build of torch"
    return (
        f"torch {torch.__version__} for CUDA {torch.version.cuda} sees no device:"
        " look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    )


def load_tinycudann() -> ModuleType:
    """The package, imported on first use.

    Raises:
        BackendError: if torch has no CUDA device, tinycudann is missing, or it was compiled for GPUs of a
            higher compute capability only. (For a lower one it runs, and warns.)
    """
    if problem := cuda_problem():
        raise BackendError(f"backend 'tcnn' needs a CUDA device; {problem}, or use another backend")
    try:
        return importlib.import_module("tinycudann")
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "tinycudann":
            raise BackendError(
                "backend 'tcnn' needs the package tinycudann, which is not installed:"
                " the README's section on GPUs tells how to build it"
            ) from error
        here = device_capabilities()
        raise BackendError(
            f"tinycudann does not load ({error}); it was built for compute capability"
            f" {_listed(built_capabilities())}, the GPUs here have {_listed(here)}:"
            f" build it again with TCNN_CUDA_ARCHITECTURES={min(here, default='')}"
        ) from error


def device_capabilities() -> list[int]:
    """Compute capability of each visible GPU, as tinycudann writes it: 86 for 8.6."""
    pairs = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
    return [major * 10 + minor for major, minor in pairs]


def built_capabilities() -> list[int]:
    """Compute capabilities that the installed bindings were compiled for, from their names (`_86_C`)."""
    spec = importlib.util.find_spec("tinycudann_bindings")
    if spec is None:
        return []
    names = [found.name for found in pkgutil.iter_modules(spec.submodule_search_locations)]
    return sorted(int(name[1:-2]) for name in names if name.startswith("_") and name.endswith("_C"))


def _listed(capabilities: list[int]) -> str:
    return ", ".join(str(capability) for capability in capabilities) or "none"


def grid_config(layout: GridLayout) -> dict[str, str | int | float]:
    """The `HashGrid` configuration whose level scales come nearest to the stored ones.

    Raises:
        BackendError: if no constant growth gives the scales, or the feature count has no kernel.
    """
    if layout.n_features not in FEATURES_PER_LEVEL:
        raise BackendError(
            f"{layout.n_features} features per level have no tinycudann kernel:"
            f" use one of {FEATURES_PER_LEVEL}, or another backend"
        )
    scales = [level.scale for level in layout.levels]
    base = round(scales[0]) + 1

    def deviation(growth: float) -> float:
        made = (level_scale(level, base, growth) for level in range(len(scales)))
        return max(abs(a - b) / (b + 1) for a, b in zip(made, scales, strict=True))

    estimate = np.float32(((scales[-1] + 1) / base) ** (1 / max(len(scales) - 1, 1)))
    growths = (float(estimate + k * np.spacing(estimate)) for k in (0, 1, -1, 2, -2, 3, -3))
    growth = min(growths, key=deviation)
    if deviation(growth) > SCALE_TOLERANCE:
        raise BackendError(
            f"the grid's scales {scales} do not grow by a constant factor from a whole resolution, which"
            " tinycudann asks for: use another backend"
        )
    return {
        "otype": "HashGrid",
        "n_levels": len(scales),
        "n_features_per_level": layout.n_features,
        "log2_hashmap_size": layout.log2_hashmap_size,
        "base_resolution": base,
        "per_level_scale": growth,
        "interpolation": "Linear",
    }


def network_config(layout: MlpLayout) -> dict[str, str | int]:
    """The network's configuration: the fused kernel where one exists for its width."""
    return {
        "otype": "FullyFusedMLP" if layout.width in FUSED_WIDTHS else "CutlassMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": layout.width,
        "n_hidden_layers": layout.n_hidden_layers,
    }


@functools.lru_cache(maxsize=8)
def field_modules(layout: FieldLayout, device: torch.device) -> FieldModules:
    """The modules of a layout on a device, made and checked once a process.

    Raises:
        BackendError: if tinycudann cannot be used here, or computes another field than this layout's.
    """
    tcnn = load_tinycudann()

    def network(mlp_layout: MlpLayout, what: str) -> torch.nn.Module:
        # Padded sizes are asked for, so that how the binding would pad is of no concern.
        module = _made(
            lambda: tcnn.Network(mlp_layout.padded_in, mlp_layout.padded_out, network_config(mlp_layout)),
            mlp_layout.n_params,
            what,
            device,
        )
        generator = torch.Generator().manual_seed(0)
        weights = init_mlp(mlp_layout, generator).to(device)
        x = (torch.rand(PROBES, mlp_layout.padded_in, generator=generator) * 2 - 1).to(device)
        _compare(module, x, weights, mlp(x, weights, mlp_layout), what)
        return module

    def encoding() -> torch.nn.Module:
        module = _made(
            lambda: tcnn.Encoding(3, grid_config(layout.grid)), layout.grid.n_params, "hash grid", device
        )
        generator = torch.Generator().manual_seed(0)
        table = (torch.rand(layout.grid.n_params, generator=generator) * 2 - 1).to(device)
        x = torch.rand(PROBES, 3, generator=generator).to(device)
        _compare(module, x, table, encode_grid(x, table, layout.grid), "hash grid")
        return module

    return FieldModules(
        encoding(), network(layout.sigma_mlp, "density network"), network(layout.color_mlp, "colour network")
    )


def _made(make: Callable[[], Any], n_params: int, what: str, device: torch.device) -> torch.nn.Module:
    try:
        module = make()
    except RuntimeError as error:  # what the binding throws, whatever the cause
        raise BackendError(
            f"tinycudann cannot make the {what} ({error}): use another size or backend"
        ) from error
    own = module.get_parameter("params")
    if own.numel() != n_params:
        raise BackendError(
            f"tinycudann's {what} has {own.numel()} parameters where the stored layout has {n_params}: this"
            " machine rounds level sizes otherwise than the one that made the layout; use another backend"
        )
    if own.device != device:
        raise BackendError(
            f"the field's parameters lie on {device}, tinycudann computes on {own.device}:"
            " move the field to the GPU, or use another backend"
        )
    own.data = own.data.new_empty(0)
    # Gradients are scaled in float32 around the call; the binding's constant would be applied in half.
    module.loss_scale = 1.0
    return module


def _compare(
    module: torch.nn.Module,
    x: Float[Tensor, "n i"],
    params: Float[Tensor, " p"],
    expected: Float[Tensor, "n o"],
    what: str,
) -> None:
    with torch.no_grad():
        found = torch.func.functional_call(module, {"params": params}, (x,))[:, : expected.shape[1]].float()
    worst = float((found - expected).abs().max() / expected.abs().max())
    if not worst <= PROBE_TOLERANCE:  # also where it is not a number
        raise BackendError(
            f"tinycudann's {what} differs from torch's by {worst:.2g} of the largest value, where half"
            f" precision explains {PROBE_TOLERANCE}: its layout is another one; use another backend"
        )

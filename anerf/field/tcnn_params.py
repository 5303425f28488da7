"""Parameters from and to tinycudann's `params` vectors, without loss.

Our three vectors already lie in tiny-cuda-nn's order. A module of its own (`Encoding`, `Network`) holds one
of them as it is; `NetworkWithInputEncoding` holds the network, then the grid, in one vector. What differs
between machines is the length: the grid's level sizes come from the host's `log2f` and `exp2f`, where one ulp
can turn a resolution of 33 into 32, so that every length is checked. Source: NVlabs/tiny-cuda-nn,
`network_with_input_encoding.h` (`set_params_impl`) and `grid.h`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import CheckpointError
from anerf.field.layout import FieldLayout, GridLayout, MlpLayout
from anerf.field.params import FieldParams, check_params


def from_modules(
    encoding: Float[Tensor, " g"],
    sigma_network: Float[Tensor, " s"],
    color_network: Float[Tensor, " c"],
    layout: FieldLayout,
    what: str,
) -> FieldParams:
    """A field from the `params` of an `Encoding` and two `Network` modules, half or single precision.

    Raises:
        CheckpointError: naming `what`, the vector and both lengths.
    """
    params = FieldParams(_single(encoding), _single(sigma_network), _single(color_network))
    check_params(params, layout, what)
    return params


def to_modules(
    params: FieldParams, layout: FieldLayout
) -> tuple[Float[Tensor, " g"], Float[Tensor, " s"], Float[Tensor, " c"]]:
    """`params` for an `Encoding`, the density `Network` and the colour `Network`; see `from_modules`."""
    check_params(params, layout, "field for tinycudann")
    return params.tensors()


def split_network_with_encoding(
    vector: Float[Tensor, " p"], network: MlpLayout, grid: GridLayout, what: str
) -> tuple[Float[Tensor, " s"], Float[Tensor, " g"]]:
    """Network and grid of a `NetworkWithInputEncoding`.

    Raises:
        CheckpointError: naming `what` and both lengths.
    """
    expected = network.n_params + grid.n_params
    if vector.numel() != expected:
        raise CheckpointError(
            f"{what}: the vector of network and grid has {vector.numel()} values where the layout asks for"
            f" {network.n_params} + {grid.n_params} = {expected}; it was made with other settings, or on a"
            " machine that rounds the grid's level sizes otherwise"
        )
    flat = _single(vector)
    return flat[: network.n_params], flat[network.n_params :]


def join_network_with_encoding(
    network_params: Float[Tensor, " s"],
    grid_params: Float[Tensor, " g"],
    network: MlpLayout,
    grid: GridLayout,
) -> Float[Tensor, " p"]:
    """`params` for a `NetworkWithInputEncoding`: network before grid.

    Raises:
        CheckpointError: naming the vector and both lengths.
    """
    for name, tensor, expected in (
        ("network", network_params, network.n_params),
        ("grid", grid_params, grid.n_params),
    ):
        if tensor.numel() != expected:
            raise CheckpointError(
                f"{name} for tinycudann has {tensor.numel()} values where its layout asks for {expected};"
                " it belongs to other settings"
            )
    return torch.cat([network_params, grid_params])


def _single(vector: Tensor) -> Float[Tensor, " p"]:
    return vector.detach().reshape(-1).float()

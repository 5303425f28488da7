"""One expert's parameters as three flat vectors, and how they start."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import CheckpointError
from anerf.field.layout import FLIGHT_CODE_DIM, FieldLayout, MlpLayout
from anerf.field.touched import TouchedGradient

NAMES = ("grid", "sigma_mlp", "color_mlp")
GRID_INIT = 1e-4  # tiny-cuda-nn's uniform range of the table


@dataclass(frozen=True)
class FieldParams:
    """Flat parameter vectors in tiny-cuda-nn's order; fast weights are just another of these.

    `touched` is where the cpu backend adds the grid's gradient, for an optimiser that visits only what a
    batch touched; without it the gradient goes through autograd, as long as the table.
    """

    grid: Float[Tensor, " g"]
    sigma_mlp: Float[Tensor, " s"]
    color_mlp: Float[Tensor, " c"]
    touched: TouchedGradient | None = field(default=None, kw_only=True)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of each vector."""
        return zip(NAMES, self.tensors(), strict=True)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors in declaration order."""
        return self.grid, self.sigma_mlp, self.color_mlp

    def to(self, device: torch.device) -> "FieldParams":
        """The same parameters on another device."""
        return FieldParams(*(t.to(device) for t in self.tensors()))

    def detached(self) -> "FieldParams":
        """Copies that require gradients and share nothing."""
        return FieldParams(*(t.detach().clone().requires_grad_() for t in self.tensors()))


def init_mlp(layout: MlpLayout, generator: torch.Generator) -> Float[Tensor, " p"]:
    """Xavier-uniform matrices, as tiny-cuda-nn draws them (`GPUMatrix::initialize_xavier_uniform`)."""
    matrices = []
    for rows, columns in layout.shapes:
        bound = math.sqrt(6.0 / (rows + columns))
        matrices.append((torch.rand(rows * columns, generator=generator) * 2 - 1) * bound)
    return torch.cat(matrices)


def init_field(layout: FieldLayout, generator: torch.Generator) -> FieldParams:
    """A fresh expert: an almost flat table and Xavier networks.

    The colour network's weights of the flight code start at 0, so that a flight which it never saw looks like
    the first one until it has learned otherwise.
    """
    grid = (torch.rand(layout.grid.n_params, generator=generator) * 2 - 1) * GRID_INIT
    sigma_mlp = init_mlp(layout.sigma_mlp, generator)
    color_mlp = init_mlp(layout.color_mlp, generator)
    rows, columns = layout.color_mlp.shapes[0]
    code_end = layout.color_mlp.n_in
    color_mlp[: rows * columns].view(rows, columns)[:, code_end - FLIGHT_CODE_DIM : code_end] = 0
    return FieldParams(grid, sigma_mlp, color_mlp)


def check_params(params: FieldParams, layout: FieldLayout, what: str) -> None:
    """Refuse vectors whose lengths differ from the layout.

    Raises:
        CheckpointError: naming `what`, the vector and both lengths.
    """
    expected = {
        "grid": layout.grid.n_params,
        "sigma_mlp": layout.sigma_mlp.n_params,
        "color_mlp": layout.color_mlp.n_params,
    }
    for name, tensor in params.items():
        if tensor.numel() != expected[name]:
            raise CheckpointError(
                f"{what}: vector {name!r} has {tensor.numel()} values where its layout asks"
                f" for {expected[name]}; the checkpoint belongs to other settings"
            )


def flight_code(index: int) -> Float[Tensor, " k"]:
    """The constant input by which the colour network tells flights apart.

    The first flight has zeros, later ones rows of a Hadamard matrix at +-1.5 (any two differ in half of
    their entries), so that a new flight is a new input and not a new network.
    """
    if index == 0:
        return torch.zeros(FLIGHT_CODE_DIM)
    # Row 0 of the matrix is constant; shifting the sign every full turn keeps 2 x 8 codes distinct.
    row, turn = index % FLIGHT_CODE_DIM, index // FLIGHT_CODE_DIM
    bits = [bin(row & column).count("1") + turn for column in range(FLIGHT_CODE_DIM)]
    return torch.tensor([1.5 if bit % 2 else -1.5 for bit in bits])

"""The C interface of the kernels: their structures made from layouts, and tensors checked before a call.

Kernels read and write raw memory, so nothing reaches them unchecked: every tensor is float32 (or the integer
type asked for), on the CPU, contiguous, and of the expected shape.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.layout import GEOMETRY_FEATURES, FieldLayout, GridLayout, MlpLayout
from anerf.field.library import kernels

LINE = 8  # floats that share a mark, as in grid.hpp


class GridLevelStruct(ctypes.Structure):
    """`GridLevel` in grid.hpp."""

    _fields_ = (
        ("scale", ctypes.c_float),
        ("resolution", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("hashed", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
    )


class GridStruct(ctypes.Structure):
    """`Grid` in grid.hpp."""

    _fields_ = (
        ("levels", ctypes.POINTER(GridLevelStruct)),
        ("n_levels", ctypes.c_int32),
        ("n_features", ctypes.c_int32),
        ("smoothstep", ctypes.c_int32),
        ("unused", ctypes.c_int32),
    )


class MlpStruct(ctypes.Structure):
    """`Mlp` in perceptron.hpp."""

    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("n_in", "padded_in", "width", "n_hidden_layers", "n_out", "padded_out")
    )


class FieldStruct(ctypes.Structure):
    """`Field` in field.cpp."""

    _fields_ = (
        ("grid", GridStruct),
        ("sigma", MlpStruct),
        ("color", MlpStruct),
        ("log_bias", ctypes.c_float),
        ("log_cap", ctypes.c_float),
    )


class RaysStruct(ctypes.Structure):
    """`Rays` in field.cpp."""

    _fields_ = (
        ("ray_index", ctypes.c_void_p),
        ("features", ctypes.c_void_p),
        ("ray_width", ctypes.c_int64),
    )


class ParamsStruct(ctypes.Structure):
    """`Params` in field.cpp."""

    _fields_ = (("table", ctypes.c_void_p), ("sigma", ctypes.c_void_p), ("color", ctypes.c_void_p))


@lru_cache(maxsize=64)
def grid_struct(layout: GridLayout, smoothstep: bool = False) -> GridStruct:
    """A grid's layout as the kernels read it."""
    if layout.n_features not in (1, 2, 4, 8):
        raise BackendError(
            f"the cpu backend has kernels for 1, 2, 4 or 8 features a level, not {layout.n_features}:"
            " change features_per_level or use the torch backend"
        )
    if any(level.entries % LINE for level in layout.levels):
        raise BackendError(
            f"a table of 2^{layout.log2_hashmap_size} entries a level has no kernel: log2_hashmap_size must"
            " be 3 or more"
        )
    levels = (GridLevelStruct * len(layout.levels))(
        *((lv.scale, lv.resolution, lv.entries, int(lv.hashed), lv.offset) for lv in layout.levels)
    )
    return GridStruct(levels, len(levels), layout.n_features, int(smoothstep), 0)


@lru_cache(maxsize=64)
def mlp_struct(layout: MlpLayout) -> MlpStruct:
    """A network's layout as the kernels read it."""
    if layout.width % 16 or layout.width < 16 or layout.n_hidden_layers < 1:
        raise BackendError(
            f"a network of {layout.n_hidden_layers} hidden layers of width {layout.width} has no kernel: use"
            " at least one layer and a multiple of 16, as 64"
        )
    return MlpStruct(
        layout.n_in, layout.padded_in, layout.width, layout.n_hidden_layers, layout.n_out, layout.padded_out
    )


@lru_cache(maxsize=64)
def field_struct(layout: FieldLayout, log_bias: float, log_cap: float) -> FieldStruct:
    """A field's layout as the kernels read it."""
    if layout.sigma_mlp.n_out != 1 + GEOMETRY_FEATURES or layout.color_mlp.n_out != 3:
        raise BackendError(
            f"the kernels expect {1 + GEOMETRY_FEATURES} outputs of the density network and 3 of the colour"
            f" network, not {layout.sigma_mlp.n_out} and {layout.color_mlp.n_out}"
        )
    grid, sigma, color = grid_struct(layout.grid), mlp_struct(layout.sigma_mlp), mlp_struct(layout.color_mlp)
    return FieldStruct(grid, sigma, color, log_bias, log_cap)


def checked(
    name: str, tensor: Tensor, shape: Sequence[int | None], dtype: torch.dtype = torch.float32
) -> Tensor:
    """The tensor, made contiguous, if a kernel may read it; None in `shape` allows any length.

    Raises:
        BackendError: another device, type or shape, each named.
    """
    if tensor.device.type != "cpu":
        raise BackendError(f"{name} is on {tensor.device}, but the cpu backend reads memory of the CPU")
    if tensor.dtype != dtype:
        raise BackendError(f"{name} is {tensor.dtype}, but the cpu backend computes with {dtype}: convert it")
    fits = tensor.dim() == len(shape) and all(
        want in (None, got) for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        raise BackendError(f"{name} has shape {tuple(tensor.shape)} where {wanted} is expected")
    return tensor.detach().contiguous()


def checked_in_place(
    name: str, tensor: Tensor, shape: Sequence[int | None], dtype: torch.dtype = torch.float32
) -> Tensor:
    """As `checked`, for memory that a kernel changes.

    Raises:
        BackendError: as `checked`, and where it is not contiguous: a copy would take the change.
    """
    if not tensor.is_contiguous():
        raise BackendError(f"{name} is not contiguous, but a kernel changes it in place: make it so")
    return checked(name, tensor, shape, dtype)


def checked_index(name: str, tensor: Tensor, length: int, below: int) -> Tensor:
    """An int32 index of that length whose values lie in [0, below).

    Raises:
        BackendError: as `checked`, and where a value lies outside.
    """
    index = checked(name, tensor, (length,), torch.int32)
    if length:
        values = index.numpy()  # NumPy's are not threaded, see `threads`
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= below:
            raise BackendError(f"{name} reaches from {low} to {high} where 0 to {below - 1} exist")
    return index


def pointer(tensor: Tensor | None) -> int | None:
    """Where a tensor's memory starts; None (a null pointer) for None."""
    return None if tensor is None else tensor.data_ptr()


def call(function: str, *arguments: object) -> None:
    """Call a kernel by name. Integers become C longs, floats C floats; tensors, structures and None pointers.

    Raises:
        MemoryError: the kernel could not allocate its scratch memory.
    """
    converted = [_argument(a) for a in arguments]
    if getattr(kernels(), function)(*converted) != 0:
        raise MemoryError(f"kernel {function} ran out of memory: render or train with fewer rays at a time")


def _argument(value: object) -> object:
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, ctypes.Structure | ctypes.Array):
        return ctypes.byref(value)
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_long(value)
    raise TypeError(f"a kernel cannot take a {type(value).__name__}")


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Of an autograd function: its backward pass, which refuses to become part of a graph itself.

    torch's own `once_differentiable` lets a second derivative through as zero where the loss is linear.
    """

    @wraps(backward)
    def refusing(ctx: Any, *upstream: Any) -> Any:
        if torch.is_grad_enabled():  # as it is with create_graph=True
            raise BackendError(
                "the cpu backend has no second derivative: differentiate without create_graph, or use the"
                " torch backend"
            )
        return backward(ctx, *upstream)

    return refusing

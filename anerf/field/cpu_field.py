"""The radiance field on the CPU by our own kernels: the values and gradients of `torch_field`, much faster.

Gradients are derived by hand and exist once; for second derivatives (MAML) use the torch backend.
"""

from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.encoding import frequencies
from anerf.field.layout import (
    BACKGROUND_SH_DEGREE,
    GEOMETRY_FEATURES,
    SH_DEGREE,
    FieldLayout,
    GridLayout,
    MlpLayout,
)
from anerf.field.native import (
    ParamsStruct,
    RaysStruct,
    call,
    checked,
    checked_index,
    field_struct,
    first_order,
    grid_struct,
    mlp_struct,
    pointer,
)
from anerf.field.params import FieldParams
from anerf.field.threads import n_threads
from anerf.field.touched import TouchedGradient


def encode_grid(
    x: Float[Tensor, "n 3"], table: Float[Tensor, " g"], layout: GridLayout, interpolation: str = "linear"
) -> Float[Tensor, "n f"]:
    """As `encoding.encode_grid`, differentiable once in the table and in the positions."""
    return _Encode.apply(x, table, layout, interpolation == "smoothstep")


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: GridLayout, smoothstep: bool) -> Tensor:  # type: ignore[override]
        n, levels = len(x), len(layout.levels)
        x, table = checked("x", x, (n, 3)), checked("table", table, (layout.n_params,))
        ctx.save_for_backward(x, table)
        ctx.layout, ctx.smoothstep = layout, smoothstep
        out = torch.empty(levels, n, layout.n_features)
        call("anerf_encode", grid_struct(layout, smoothstep), n_threads(), n, x, table, out)
        return out.transpose(0, 1).reshape(n, layout.n_output)

    @staticmethod
    @first_order
    def backward(ctx: Any, upstream: Tensor):  # type: ignore[override]
        x, table = ctx.saved_tensors
        layout: GridLayout = ctx.layout
        by_level = upstream.reshape(len(x), len(layout.levels), layout.n_features)
        d_out = by_level.transpose(0, 1).contiguous()
        d_table = torch.zeros_like(table) if ctx.needs_input_grad[1] else None
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        struct = grid_struct(layout, ctx.smoothstep)
        call(
            "anerf_encode_backward", struct, n_threads(), len(x), x, table, d_out, d_table, None, d_x
        )  # fmt: skip
        return d_x, d_table, None, None


def mlp(x: Float[Tensor, "n i"], params: Float[Tensor, " p"], layout: MlpLayout) -> Float[Tensor, "n o"]:
    """As `torch_field.mlp`, differentiable once."""
    return _Mlp.apply(x, params, layout)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor, layout: MlpLayout) -> Tensor:  # type: ignore[override]
        x, params = checked("x", x, (len(x), layout.n_in)), checked("params", params, (layout.n_params,))
        ctx.save_for_backward(x, params)
        ctx.layout = layout
        out = torch.empty(len(x), layout.padded_out)
        call("anerf_mlp", mlp_struct(layout), n_threads(), len(x), x, params, out, None, None, None)
        return out[:, : layout.n_out].contiguous()

    @staticmethod
    @first_order
    def backward(ctx: Any, upstream: Tensor):  # type: ignore[override]
        x, params = ctx.saved_tensors
        layout: MlpLayout = ctx.layout
        d_out = torch.nn.functional.pad(upstream, (0, layout.padded_out - layout.n_out)).contiguous()
        d_params = torch.zeros_like(params) if ctx.needs_input_grad[1] else None
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        struct = mlp_struct(layout)
        call("anerf_mlp", struct, n_threads(), len(x), x, params, None, d_out, d_params, d_x)
        return d_x, d_params, None


def spherical_harmonics(d: Float[Tensor, "n 3"], degree: int) -> Float[Tensor, "n s"]:
    """As `encoding.spherical_harmonics`, differentiable once."""
    return _Harmonics.apply(d, degree)


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, degree: int) -> Tensor:  # type: ignore[override]
        if not 1 <= degree <= 4:
            raise BackendError(f"spherical harmonics have degrees 1 to 4 here, not {degree}")
        d = checked("d", d, (len(d), 3))
        ctx.save_for_backward(d)
        ctx.degree = degree
        out = torch.empty(len(d), degree**2)
        call("anerf_harmonics", n_threads(), len(d), degree, d, out, degree**2, None, None)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, upstream: Tensor):  # type: ignore[override]
        (d,) = ctx.saved_tensors
        degree: int = ctx.degree
        d_out, d_dirs = checked("upstream", upstream, (len(d), degree**2)), torch.empty_like(d)
        call("anerf_harmonics", n_threads(), len(d), degree, d, None, degree**2, d_out, d_dirs)
        return d_dirs, None


def background(
    dirs: Float[Tensor, "r 3"], params: Float[Tensor, " p"], layout: MlpLayout
) -> Float[Tensor, "r 3"]:
    """As `torch_field.background`."""
    return torch.sigmoid(mlp(spherical_harmonics(dirs, BACKGROUND_SH_DEGREE), params, layout))


def ray_features(
    dirs: Float[Tensor, "r 3"], code: Float[Tensor, "r k"], layout: FieldLayout
) -> Float[Tensor, "r w"]:
    """As `torch_field.ray_features`."""
    if layout.dir_encoding == "spherical":
        return torch.cat([spherical_harmonics(dirs, SH_DEGREE), code], dim=1)
    return torch.cat([frequencies(dirs), code], dim=1)


def density(
    x: Float[Tensor, "n 3"], params: FieldParams, layout: FieldLayout, log_bias: float, log_cap: float
) -> Float[Tensor, " n"]:
    """Density per learning unit at positions of the expert's unit cube; not differentiable."""
    n = len(x)
    x = checked("x", x, (n, 3))
    pointers, _kept = _params(params.tensors(), layout)
    sigma = torch.empty(n)
    call(
        "anerf_field", field_struct(layout, log_bias, log_cap), n_threads(), n, x,
        RaysStruct(None, None, 0), pointers, None, None, sigma,
    )  # fmt: skip
    return sigma


def query(
    x: Float[Tensor, "n 3"],
    ray_features: Float[Tensor, "r w"],
    ray_index: Int32[Tensor, " n"],
    params: FieldParams,
    layout: FieldLayout,
    log_bias: float,
    log_cap: float,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Colour and density; differentiable once in everything but `ray_index`.

    Where `params.touched` is there, the table's gradient is added to it and autograd sees none.
    """
    return _Query.apply(
        x, ray_features, *params.tensors(), ray_index, layout, (log_bias, log_cap), params.touched,
        torch.is_grad_enabled(),
    )  # fmt: skip


def _params(tensors: tuple[Tensor, ...], layout: FieldLayout) -> tuple[ParamsStruct, tuple[Tensor, ...]]:
    """Pointers to the parameters, and what must live as long as they are used."""
    lengths = (layout.grid.n_params, layout.sigma_mlp.n_params, layout.color_mlp.n_params)
    names = ("grid", "sigma_mlp", "color_mlp")
    kept = tuple(checked(*item[:2], (item[2],)) for item in zip(names, tensors, lengths, strict=True))
    return ParamsStruct(*(t.data_ptr() for t in kept)), kept


class _Query(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        ray_features: Tensor,
        grid: Tensor,
        sigma_mlp: Tensor,
        color_mlp: Tensor,
        ray_index: Tensor,
        layout: FieldLayout,
        log_range: tuple[float, float],
        touched: TouchedGradient | None,
        differentiable: bool,
    ) -> tuple[Tensor, Tensor]:
        n, width = len(x), layout.color_mlp.n_in - GEOMETRY_FEATURES
        x = checked("x", x, (n, 3))
        ray_features = checked("ray_features", ray_features, (None, width))
        ray_index = checked_index("ray_index", ray_index, n, len(ray_features))
        pointers, params = _params((grid, sigma_mlp, color_mlp), layout)
        if touched is not None:
            touched.check(layout.grid.n_params)
        # Kept for the backward pass only: fresh memory costs more than what is written there.
        kept = differentiable and any(ctx.needs_input_grad)
        encoding = torch.empty(len(layout.grid.levels), n, layout.grid.n_features) if kept else None
        rgb, sigma = torch.empty(n, 3), torch.empty(n)
        struct = field_struct(layout, *log_range)
        rays = RaysStruct(pointer(ray_index), pointer(ray_features), width)
        call("anerf_field", struct, n_threads(), n, x, rays, pointers, encoding, rgb, sigma)
        ctx.save_for_backward(rgb, x, ray_features, ray_index, *params)
        ctx.encoding, ctx.struct, ctx.layout, ctx.touched = encoding, struct, layout, touched
        return rgb, sigma

    @staticmethod
    @first_order
    def backward(ctx: Any, d_rgb: Tensor, d_sigma: Tensor):  # type: ignore[override]
        rgb, x, ray_features, ray_index, *params = ctx.saved_tensors
        needs_x, needs_features, needs_grid, needs_sigma, needs_color = ctx.needs_input_grad[:5]
        touched: TouchedGradient | None = ctx.touched
        n, width = len(x), ray_features.shape[1]
        d_rgb, d_sigma = checked("d_rgb", d_rgb, (n, 3)), checked("d_sigma", d_sigma, (n,))
        d_x = torch.empty_like(x) if needs_x else None
        d_features = torch.empty(n, width) if needs_features else None
        d_grid = None
        if needs_grid:
            d_grid = torch.zeros_like(params[0]) if touched is None else touched.values
        d_sigma_mlp = torch.zeros_like(params[1]) if needs_sigma else None
        d_color_mlp = torch.zeros_like(params[2]) if needs_color else None
        call(
            "anerf_field_backward", ctx.struct, n_threads(), n, x,
            RaysStruct(pointer(ray_index), pointer(ray_features), width),
            ParamsStruct(*(t.data_ptr() for t in params)), ctx.encoding, rgb, d_rgb, d_sigma,
            d_grid, None if touched is None else touched.marks,
            d_sigma_mlp, d_color_mlp, d_features, d_x,
        )  # fmt: skip
        d_rays = None
        if d_features is not None:
            d_rays = torch.zeros_like(ray_features).index_add_(0, ray_index, d_features)
        return_grid = d_grid if touched is None else None
        return d_x, d_rays, return_grid, d_sigma_mlp, d_color_mlp, None, None, None, None, None

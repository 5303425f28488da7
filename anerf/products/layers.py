"""Layers of a rendered picture as values and as colours, and as files."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int16, UInt8, UInt16
from PIL import Image

from anerf.products.colormap import (
    Range,
    depth_picture,
    depth_range_m,
    expert_picture,
    normal_picture,
    opacity_picture,
    to_uint8,
)
from anerf.render.view import Picture

Layer = Literal["rgb", "depth", "opacity", "expert"]
"""What a picture holds."""
AnyLayer = Layer | Literal["normals"]
FileFormat = Literal["png", "jpeg", "webp", "npy", "png16"]

MEDIA_TYPES: dict[FileFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "png16": "image/png",
}
DEPTH_UNITS_M = (0.001, 0.01, 0.1, 1.0)
"""What a count of a 16-bit depth picture may be; the first with which the farthest depth fits is taken."""
_QUALITY = 92


@dataclass(frozen=True)
class LayerValues:
    """A layer's numbers: rgb (h, w, 3) sRGB in [0, 1] or as bytes, depth (h, w) in metres, opacity (h, w) in
    [0, 1], expert (h, w) int16 with -1 for none, normals (h, w, 3) in ENU with 0 for none.

    `opacity` tells where there is something, for depth that is to be coloured.
    """

    layer: AnyLayer
    values: Float[np.ndarray, "..."] | UInt8[np.ndarray, "h w 3"] | Int16[np.ndarray, "h w"]
    opacity: Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class LayerFile:
    """An encoded layer; `depth_range_m` where depth was coloured, `unit_m` where it was counted."""

    data: bytes
    media_type: str
    depth_range_m: Range | None = None
    unit_m: float | None = None


def layer_values(picture: Picture, layer: Layer) -> LayerValues:
    """A layer of a picture; for normals see `render.normals`."""
    values = {
        "rgb": picture.rgb,
        "depth": picture.depth_m,
        "opacity": picture.opacity,
        "expert": picture.expert,
    }[layer]
    return LayerValues(layer, values, picture.opacity)


def layer_picture(picture: Picture, layer: Layer, range_m: Range | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """A layer to look at. Depth is coloured from `range_m[0]` to `range_m[1]`, by default its own range."""
    return values_picture(layer_values(picture, layer), range_m)


def values_picture(seen: LayerValues, range_m: Range | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """As `layer_picture`, of values of any layer."""
    match seen.layer:
        case "rgb":
            return seen.values if seen.values.dtype == np.uint8 else to_uint8(seen.values)
        case "depth":
            shown = range_m or depth_range_m(seen.values, seen.opacity)
            return depth_picture(seen.values, seen.opacity, shown)
        case "opacity":
            return opacity_picture(seen.values)
        case "expert":
            return expert_picture(seen.values)
        case "normals":
            return normal_picture(seen.values)


def encode_layer(seen: LayerValues, file_format: FileFormat, range_m: Range | None = None) -> LayerFile:
    """The layer as a file.

    `npy` holds its numbers, `png16` depth in units of `LayerFile.unit_m` (0 where nothing is), the others the
    picture to look at.
    """
    media_type = MEDIA_TYPES[file_format]
    if file_format == "npy":
        kind = np.int16 if seen.layer == "expert" else np.float32
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(seen.values, kind), allow_pickle=False)
        return LayerFile(buffer.getvalue(), media_type)
    if file_format == "png16":
        counts, unit_m = counted_depth(seen.values)
        return LayerFile(_saved(Image.fromarray(counts), "PNG", compress_level=3), media_type, None, unit_m)
    if seen.layer == "depth" and range_m is None:
        range_m = depth_range_m(seen.values, seen.opacity)
    image = Image.fromarray(values_picture(seen, range_m))
    match file_format:
        case "png":
            data = _saved(image, "PNG", compress_level=3)
        case "jpeg":
            data = _saved(image, "JPEG", quality=_QUALITY, subsampling=0)
        case "webp":
            data = _saved(image, "WEBP", quality=_QUALITY, method=2)
    return LayerFile(data, media_type, range_m if seen.layer == "depth" else None)


def counted_depth(depth_m: Float[np.ndarray, "h w"]) -> tuple[UInt16[np.ndarray, "h w"], float]:
    """Depth as whole numbers of a unit in metres, the finest of `DEPTH_UNITS_M` with which it fits; 65,535 is
    also what lies farther."""
    farthest_m = float(depth_m.max(initial=0.0))
    unit_m = next((u for u in DEPTH_UNITS_M if farthest_m <= u * 65_535), DEPTH_UNITS_M[-1])
    return np.rint(np.clip(depth_m / unit_m, 0, 65_535)).astype(np.uint16), unit_m


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()

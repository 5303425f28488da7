"""Layers of a rendered picture as values and as colours, and as files."""

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from anerf.products.colormap import Range, depth_picture, depth_range_m, opacity_picture, to_uint8

if TYPE_CHECKING:
    from anerf.render.picture import Picture

Layer = Literal["rgb", "depth", "opacity"]
FileFormat = Literal["png", "jpeg", "npy"]

MEDIA_TYPES: dict[FileFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "npy": "application/x-npy"}
_JPEG_QUALITY = 92


def layer_values(picture: "Picture", layer: Layer) -> Float[np.ndarray, "..."]:
    """A layer's numbers: rgb (h, w, 3) sRGB in [0, 1], depth (h, w) in metres, opacity (h, w) in [0, 1]."""
    match layer:
        case "rgb":
            return picture.rgb
        case "depth":
            return picture.depth_m
        case "opacity":
            return picture.opacity


def layer_picture(
    picture: "Picture", layer: Layer, range_m: Range | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A layer to look at. Depth is coloured from `range_m[0]` to `range_m[1]`, by default its own range."""
    match layer:
        case "rgb":
            return to_uint8(picture.rgb)
        case "depth":
            shown = range_m or depth_range_m(picture.depth_m, picture.opacity)
            return depth_picture(picture.depth_m, picture.opacity, shown)
        case "opacity":
            return opacity_picture(picture.opacity)


def encode_layer(
    picture: "Picture", layer: Layer, file_format: FileFormat, range_m: Range | None = None
) -> bytes:
    """The layer as a file: `npy` holds its float32 numbers, `png` and `jpeg` the picture to look at."""
    buffer = io.BytesIO()
    if file_format == "npy":
        np.save(buffer, np.ascontiguousarray(layer_values(picture, layer), np.float32), allow_pickle=False)
    elif file_format == "jpeg":
        image = Image.fromarray(layer_picture(picture, layer, range_m))
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(layer_picture(picture, layer, range_m)).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()

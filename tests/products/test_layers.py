"""Layers as files: every format gives the numbers back that it holds."""

import io

import numpy as np
import pytest
from PIL import Image

from anerf.products.layers import LayerValues, counted_depth, encode_layer, values_picture

H, W = 6, 9


def values_of(layer: str) -> LayerValues:
    rng = np.random.default_rng(5)
    opacity = np.ones((H, W), np.float32)
    values = {
        "rgb": rng.random((H, W, 3), np.float32),
        "depth": rng.random((H, W), np.float32) * 300,
        "opacity": rng.random((H, W), np.float32),
        "expert": rng.integers(-1, 12, (H, W)).astype(np.int16),
        "normals": np.broadcast_to(np.float32([0, 0.6, 0.8]), (H, W, 3)),
    }[layer]
    return LayerValues(layer, values, opacity)


@pytest.mark.parametrize("layer", ["rgb", "depth", "opacity", "expert", "normals"])
def test_npy_holds_the_numbers(layer: str) -> None:
    seen = values_of(layer)
    file = encode_layer(seen, "npy")
    back = np.load(io.BytesIO(file.data), allow_pickle=False)
    assert back.dtype == (np.int16 if layer == "expert" else np.float32)
    assert np.array_equal(back, seen.values)


@pytest.mark.parametrize("layer", ["rgb", "depth", "opacity", "expert", "normals"])
@pytest.mark.parametrize(
    ("form", "kind", "far"), [("png", "PNG", 0), ("jpeg", "JPEG", 255), ("webp", "WEBP", 255)]
)
def test_pictures_are_what_is_looked_at(layer: str, form: str, kind: str, far: int) -> None:
    seen = values_of(layer)
    file = encode_layer(seen, form)
    with Image.open(io.BytesIO(file.data)) as image:
        assert (image.format, image.size, image.mode) == (kind, (W, H), "RGB")
        assert np.abs(np.asarray(image).astype(int) - values_picture(seen)).max() <= far
    assert (file.depth_range_m is not None) == (layer == "depth")


def test_bytes_are_taken_as_they_are() -> None:
    colors = (np.arange(H * W * 3) % 256).astype(np.uint8).reshape(H, W, 3)
    file = encode_layer(LayerValues("rgb", colors, np.ones((H, W))), "png")
    with Image.open(io.BytesIO(file.data)) as image:
        assert np.array_equal(np.asarray(image), colors)


def test_counted_depth_by_hand() -> None:
    file = encode_layer(LayerValues("depth", np.float32([[0, 1.234, 65.0]]), np.ones((1, 3))), "png16")
    with Image.open(io.BytesIO(file.data)) as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 1234, 65_000]]
    assert file.unit_m == 0.001
    assert counted_depth(np.float32([[0, 123.45]]))[1] == 0.01
    counts, unit_m = counted_depth(np.float32([[5_000, 1e6]]))
    assert (counts.tolist(), unit_m) == ([[5_000, 65_535]], 1.0)


def test_colours_of_experts_and_normals() -> None:
    experts = values_picture(values_of("expert"))
    numbers = values_of("expert").values
    assert (experts[numbers == -1] == 58 + np.array([0, 0, 4])).all()
    assert (experts[numbers == 0] == [0x7A, 0xB6, 0xFF]).all()
    assert (values_picture(values_of("normals"))[0, 0] == [128, 204, 230]).all()

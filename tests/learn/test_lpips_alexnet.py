"""LPIPS against an independent computation from the paper's formula."""

import importlib
import importlib.util
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from anerf.errors import InputError
from anerf.learn import lpips as lpips_module
from anerf.learn.lpips import INSTALL_COMMAND, Lpips


@pytest.fixture(scope="module")
def distance() -> Lpips:
    try:
        lpips_module.installed_weights()
    except InputError as error:
        pytest.skip(str(error))
    return Lpips()


def _noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def _landscape(width: int = 320, height: int = 240) -> np.ndarray:
    """Smooth hills with edges: a picture with structure at several scales."""
    y, x = np.mgrid[0:height, 0:width] / height
    hills = 0.5 + 0.25 * np.sin(9 * x + 4 * np.sin(5 * y)) + 0.2 * np.sign(np.sin(23 * x * y))
    return np.stack([hills, hills**2, 1 - hills * y], -1).clip(0, 1).astype(np.float32)


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """NumPy, channels last, straight from the definition."""
    size = kernel.shape[0]
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias


def _pool(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max((-1, -2))


def _by_the_formula(a: np.ndarray, b: np.ndarray) -> float:
    arrays = lpips_module._read_arrays(lpips_module.installed_weights())
    total = 0.0
    stacks = []
    for picture in (a, b):
        x = (2 * picture.astype(np.float64) - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        stack = []
        for layer, (size, c_in, c_out, stride, padding) in enumerate(
            [
                (11, 3, 64, 4, 2),
                (5, 64, 192, 1, 2),
                (3, 192, 384, 1, 1),
                (3, 384, 256, 1, 1),
                (3, 256, 256, 1, 1),
            ]
        ):
            kernel = arrays[2 * layer].reshape(size, size, c_in, c_out)
            x = np.maximum(_convolve(x, kernel, arrays[2 * layer + 1], stride, padding), 0)
            stack.append(x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10))
            x = _pool(x) if layer < 2 else x
        stacks.append(stack)
    for layer, (one, other) in enumerate(zip(*stacks, strict=True)):
        total += float((((one - other) ** 2) @ arrays[10 + layer]).mean())
    return total


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_the_formula_in_numpy(distance: Lpips, seed: int) -> None:
    a, b = _noise(seed), 0.5 * _noise(seed) + 0.5 * _noise(seed + 10)
    assert distance(a, b) == pytest.approx(_by_the_formula(a, b), rel=1e-4)


def test_zero_for_equal_pictures_and_symmetric(distance: Lpips) -> None:
    a, b = _landscape(), _landscape()[:, ::-1].copy()
    assert distance(a, a) == 0
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-6)
    assert 0.1 < distance(a, b) < 1.5


def test_grows_with_the_noise_and_forgives_a_slight_shift_of_brightness(distance: Lpips) -> None:
    a = _landscape()
    noise = _noise(5, 240, 320) - 0.5
    distances = [distance(a, (a + s * noise).clip(0, 1)) for s in (0.05, 0.2, 0.8)]
    assert distances == sorted(distances)
    assert distance(a, (a * 0.98).astype(np.float32)) < distances[0]


def test_a_pair_of_320_by_240_takes_less_than_a_third_of_a_second(distance: Lpips) -> None:
    a, b = _landscape(), _noise(6, 240, 320)
    threads = torch.get_num_threads()
    # Threads that wait for each other on busy cores would measure the neighbours, not this.
    torch.set_num_threads(1)
    try:
        distance(a, b)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            distance(a, b)
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 0.3


def test_heads_are_those_of_the_reference_implementation(distance: Lpips) -> None:
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        pytest.skip("the reference package lpips is not installed")
    heads = torch.load(
        Path(spec.origin).parent / "weights/v0.1/alex.pth", weights_only=True, map_location="cpu"
    )
    for i, head in enumerate(distance._heads):
        assert torch.equal(head, heads[f"lin{i}.model.1.weight"])


@pytest.fixture
def reference(distance: Lpips, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The published package's own module with its own heads, on AlexNet built as torchvision builds it.

    torchvision itself need not be there: the package asks it for `models.alexnet(...).features` only.
    """
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("the reference package lpips is not installed")
    layers: list[torch.nn.Module] = []
    pooled_after = (0, 1)
    geometry = [(11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
    pairs = zip(distance._kernels, distance._biases, strict=True)
    for i, ((kernel, bias), (size, stride, padding)) in enumerate(zip(pairs, geometry, strict=True)):
        c_out, c_in = kernel.shape[:2]
        convolution = torch.nn.Conv2d(c_in, c_out, size, stride, padding)
        with torch.no_grad():
            convolution.weight.copy_(kernel)
            assert convolution.bias is not None
            convolution.bias.copy_(bias)
        layers += [convolution, torch.nn.ReLU()]
        if i in pooled_after:
            layers.append(torch.nn.MaxPool2d(3, 2))
    models = types.ModuleType("torchvision.models")
    models.alexnet = lambda pretrained: types.SimpleNamespace(features=torch.nn.Sequential(*layers))
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    package = importlib.import_module("lpips")
    return package.LPIPS(net="alex", verbose=False).eval()


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_the_published_package(seed: int, distance: Lpips, reference) -> None:
    a, b = _noise(seed, 64, 80), _noise(seed + 50, 64, 80)
    if seed % 2:
        a, b = _landscape(), np.clip(_landscape() + 0.1 * _noise(seed, 240, 320), 0, 1)
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] * 2 - 1 for x in (a, b)]
    with torch.no_grad():
        expected = float(reference(*tensors))
    assert expected > 0.01
    assert distance(a, b) == pytest.approx(expected, abs=1e-5)


def test_small_and_wrong_pictures_are_refused(distance: Lpips) -> None:
    assert distance(_noise(0, 31, 31), _noise(1, 31, 31)) > 0
    with pytest.raises(ValueError, match="at least 31 x 31 pixels, not 40 x 30"):
        distance(_noise(0, 30, 40), _noise(0, 30, 40))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
        distance(_noise(0) * 255, _noise(0))


def test_other_weights_are_refused_before_anything_is_read_from_them(tmp_path: Path) -> None:
    other = tmp_path / "alexnet.ckpt"
    other.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="not 443c5bc35326"):
        Lpips(other)


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=INSTALL_COMMAND):
        Lpips()

"""What is measured: tables of usual shapes, batches of samples along rays, and who evaluates them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from anerf.bench.timing import seconds_of
from anerf.field.backend import DensityScale, FieldBackend, choose_backend
from anerf.field.diagnosis import examine_backends
from anerf.field.layout import FLIGHT_CODE_DIM, FieldLayout, field_layout, grid_layout, growth_between
from anerf.field.params import FieldParams, init_field
from anerf.field.threads import kernel_threads
from anerf.field.torch_field import ray_features
from anerf.field.touched import TouchedGradient

BASE_RESOLUTION, MAX_RESOLUTION = 16, 2048
HIDDEN_LAYERS, WIDTH = 2, 64
SAMPLES_A_RAY = 16
STRETCH = 1 / 8  # of the unit cube: samples of a ray gather around a surface, as importance sampling has them
_SCALE = DensityScale(log_bias=0.0, log_cap=10.0)


@dataclass(frozen=True)
class TableShape:
    """A hash grid: levels, features a level, and the logarithm of a level's greatest size."""

    n_levels: int
    n_features: int
    log2_hashmap_size: int

    @property
    def name(self) -> str:
        """Such as `L16 F2 T19`."""
        return f"L{self.n_levels} F{self.n_features} T{self.log2_hashmap_size}"

    def layout(self) -> FieldLayout:
        """The grid with the usual networks: two hidden layers of 64, directions by spherical harmonics."""
        growth = growth_between(BASE_RESOLUTION, MAX_RESOLUTION, self.n_levels)
        grid = grid_layout(self.n_levels, self.n_features, self.log2_hashmap_size, BASE_RESOLUTION, growth)
        return field_layout(
            grid,
            sigma_depth=HIDDEN_LAYERS,
            sigma_width=WIDTH,
            color_depth=HIDDEN_LAYERS,
            color_width=WIDTH,
            dir_encoding="spherical",
        )


@dataclass(frozen=True)
class Batch:
    """Samples as a backend takes them, and the gradients that come back to their colours and densities."""

    x: Float[Tensor, "n 3"]
    ray_features: Float[Tensor, "r w"]
    ray_index: Int32[Tensor, " n"]
    d_rgb: Float[Tensor, "n 3"]
    d_sigma: Float[Tensor, " n"]

    @staticmethod
    def along_rays(layout: FieldLayout, n_samples: int, device: torch.device, seed: int = 0) -> "Batch":
        """Rays in random directions through random places of the unit cube, `SAMPLES_A_RAY` each in a short
        stretch, front to back.
        """
        generator = torch.Generator().manual_seed(seed)
        n_rays = -(-n_samples // SAMPLES_A_RAY)
        middle = torch.rand(n_rays, 1, 3, generator=generator)
        directions = torch.nn.functional.normalize(torch.randn(n_rays, 3, generator=generator), dim=1)
        steps = torch.arange(SAMPLES_A_RAY) + torch.rand(n_rays, SAMPLES_A_RAY, generator=generator)
        t = STRETCH * (steps / SAMPLES_A_RAY - 0.5)
        x = (middle + directions[:, None] * t[..., None]).reshape(-1, 3)[:n_samples].clamp(0, 1)
        index = torch.arange(n_rays, dtype=torch.int32).repeat_interleave(SAMPLES_A_RAY)[:n_samples]
        features = ray_features(directions, torch.zeros(n_rays, FLIGHT_CODE_DIM), layout)
        d_rgb = torch.randn(n_samples, 3, generator=generator) / n_samples
        d_sigma = torch.randn(n_samples, generator=generator) / n_samples
        return Batch(*(tensor.to(device) for tensor in (x, features, index, d_rgb, d_sigma)))

    def __len__(self) -> int:
        """Samples."""
        return len(self.x)


@dataclass(frozen=True)
class Contender:
    """A backend with parameters of its own; the kernels note what they touch, as in training."""

    backend: FieldBackend
    device: torch.device
    params: FieldParams
    layout: FieldLayout

    @staticmethod
    def of(name: str, device: str, layout: FieldLayout) -> "Contender":
        """A freshly initialised field."""
        target = torch.device(device)
        params = init_field(layout, torch.Generator().manual_seed(0)).to(target).detached()
        if name == "cpu":
            params = FieldParams(*params.tensors(), touched=TouchedGradient.of(params.grid))
        return Contender(choose_backend(name, target), target, params, layout)

    def given_threads(self, n: int) -> AbstractContextManager[None]:
        """Gives it this many threads. Beside our kernels torch has one, as in jobs."""
        return kernel_threads(n, of_torch=1 if self.backend.name == "cpu" else n)

    def forward(self, batch: Batch) -> None:
        """Colours and densities, as for a picture."""
        with torch.no_grad():
            self.answer(batch)
        self._settle()

    def forward_backward(self, batch: Batch) -> None:
        """Also the gradients of all parameters, as in training."""
        torch.autograd.grad(
            self.answer(batch), self.params.tensors(), (batch.d_rgb, batch.d_sigma), allow_unused=True
        )
        self._settle()

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Colours and densities, differentiable."""
        return self.backend.query(
            batch.x, batch.ray_features, batch.ray_index, self.params, self.layout, _SCALE
        )

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def contenders(layout: FieldLayout) -> list[Contender]:
    """The kernels and torch on the CPU; torch and tinycudann on CUDA where they work."""
    wanted = [("cpu", "cpu"), ("torch", "cpu")]
    if torch.cuda.is_available():
        wanted.append(("torch", "cuda"))
        wanted += [("tcnn", "cuda") for state in examine_backends() if state.name == "tcnn" and state.usable]
    return [Contender.of(name, device, layout) for name, device in wanted]


def ns_a_sample(evaluate: Callable[[Batch], None], batch: Batch, at_least_s: float) -> float:
    """Of calls that follow each other, after one that brings the batch and its rows near."""
    evaluate(batch)
    return 1e9 * seconds_of(lambda: evaluate(batch), at_least_s) / len(batch)

"""An expert that answers for the whole tiny scene, put together by hand: no job, no actor."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from anerf.checkpoint.load import learning_box
from anerf.field.backend import CpuBackend, FieldBackend, TorchBackend
from anerf.field.spec import FieldSpec
from anerf.field.threads import kernel_threads
from anerf.geometry.boxes import Aabb
from anerf.geometry.geodesy import GeodeticReference
from anerf.jobs.learning import fresh_density
from anerf.learn.algorithms import OuterSettings
from anerf.learn.expert import Expert
from anerf.learn.fast_weights import InnerRule
from anerf.learn.objective import Learner
from anerf.learn.optimiser import FisherDamping, Rates
from anerf.learn.rays import RaySource
from anerf.learn.state import ExpertState, new_state
from anerf.partition.coverage import region_tiles
from anerf.partition.regions import Partition
from anerf.render.expert import FieldSetting
from anerf.render.samples import Sampling
from anerf.render.scene_model import SceneModel
from anerf.scene.pixels import PixelStore, open_pixels
from anerf.scene.scene import Scene

FLIGHTS = ("survey", "after")
TRAINED_STEPS = 150
INNER = InnerRule("all", "sgd", 0.015, 0.015)
SPEC = FieldSpec(
    n_levels=5, features_per_level=4, log2_hashmap_size=14, base_resolution=16, max_resolution=64,
    sigma_depth=1, color_depth=1, sigma_width=64, color_width=64, dir_encoding="spherical",
    density_cap_per_m=10.0, color_space="srgb", background="head", background_width=32, sample_floor=0.3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Batches are small here; and threads may add in another order."""
    with kernel_threads(1):
        yield


@pytest.fixture(scope="session")
def whole(tiny_scene: Scene) -> Partition:
    """One region: all of the scene's box."""
    box = tiny_scene.aabb
    return Partition("whole", np.array([box.center]), 2, 1.0, (box,), "by hand")


@pytest.fixture(scope="session")
def box(tiny_scene: Scene) -> Aabb:
    """The scene's box in the learning frame, as a checkpoint would restore it."""
    return learning_box((tiny_scene.aabb.lo, tiny_scene.aabb.hi), tiny_scene.origin, tiny_scene.scale)


@pytest.fixture(scope="session")
def pixels(tiny_scene: Scene) -> PixelStore:
    return open_pixels(tiny_scene, 1.0)


@pytest.fixture(scope="session")
def rays_of(tiny_scene: Scene, whole: Partition, pixels: PixelStore) -> Callable[..., RaySource]:
    """Makes the source of the rays of some splits."""

    def source(*splits: str, color_space: str = "srgb", tile: int = 8) -> RaySource:
        tiles = region_tiles(tiny_scene, whole, 0, splits, 1.0, tile)
        return RaySource(tiny_scene, pixels, tiles, FLIGHTS, color_space)

    return source


@pytest.fixture(scope="session")
def train_rays(rays_of: Callable[..., RaySource]) -> RaySource:
    return rays_of("train")


def learner_on(backend: FieldBackend, scene: Scene) -> Learner:
    setting = FieldSetting(backend, SPEC.layout(), SPEC.density_scale(scene.scale))
    return Learner(SPEC, setting, Sampling(8, 0.3), "adam")


@pytest.fixture(scope="session")
def learner(tiny_scene: Scene) -> Learner:
    """On the kernels, as jobs do it."""
    return learner_on(CpuBackend(), tiny_scene)


@pytest.fixture(scope="session")
def torch_learner(tiny_scene: Scene) -> Learner:
    """On the twin, which MAML needs."""
    return learner_on(TorchBackend(), tiny_scene)


@pytest.fixture(scope="session")
def make_expert(
    tiny_scene: Scene, learner: Learner, torch_learner: Learner, train_rays: RaySource, box: Aabb
) -> Callable[..., Expert]:
    """Makes a fresh expert, or one that goes on from `state`."""

    def make(
        algo: str = "plain", *, seed: int = 0, fim: bool = False, rays: int = 256,
        state: ExpertState | None = None, on_torch: bool = False, inner: InnerRule = INNER,
        learn_rates: bool = False, task_shift: float = 0.0, anchor_rays: int = 0,
    ) -> Expert:  # fmt: skip
        its_learner = torch_learner if on_torch or algo == "maml" else learner
        if state is None:
            generator = torch.Generator().manual_seed(seed)
            density = fresh_density(tiny_scene, box, torch.e**learner.setting.scale.log_bias)
            state = new_state(SPEC, learner.setting.layout, density, box, generator)
        if learn_rates:
            state.learn_inner_rates(inner.log_rates())
        return Expert(
            0,
            seed,
            its_learner,
            OuterSettings(
                algo, rays, 2, rays // 2, rays // 2, 2, inner, task_shift=task_shift, anchor_rays=anchor_rays
            ),
            Rates(
                0.03, 0.006, 0.006, 1e-3, 0.02, decay_factor=10, outer_steps=TRAINED_STEPS, warmup_steps=20
            ),
            state,
            train_rays,
            cell_dim=4,
            fisher=FisherDamping(0.1, 0.95, 1e-6) if fim else None,
        )

    return make


@pytest.fixture(scope="session")
def training(make_expert: Callable[..., Expert]) -> tuple[Expert, list[float]]:
    """An expert after a short training, and its loss in every step; not to be moved on."""
    with kernel_threads(1):
        expert = make_expert(rays=512)
        return expert, [expert.advance(step + 1).loss for step in range(TRAINED_STEPS)]


@pytest.fixture
def copy_trained(training: tuple[Expert, list[float]]) -> Callable[[], ExpertState]:
    """Makes trained states that share nothing."""
    return lambda: copy.deepcopy(training[0].state)


@pytest.fixture
def trained(copy_trained: Callable[[], ExpertState]) -> ExpertState:
    """A trained state of one's own."""
    return copy_trained()


@pytest.fixture(scope="session")
def model(training, tiny_scene: Scene, whole: Partition, learner: Learner) -> SceneModel:
    """The scene as that training left it."""
    state = training[0].state
    return SceneModel(
        scene_name=tiny_scene.name, reference=GeodeticReference(50, 7, 0), crs=tiny_scene.crs,
        origin=tiny_scene.origin, scale=tiny_scene.scale, aabb=tiny_scene.aabb, flights=("survey",),
        experts=("0",), partition_centroids=whole.centroids, dims=2, margin=1.0, spec=learner.spec,
        setting=learner.setting, models=(state.model(state.params.detached()),),
        background=state.background.detach(),
    )  # fmt: skip

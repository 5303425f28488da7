"""Fixtures shared by all rooms."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from anerf.errors import BackendError
from anerf.field import library
from anerf.field.kernels.variants import machine_variants
from anerf.field.threads import kernel_threads
from anerf.geometry.cameras import Camera
from anerf.partition.build import grid_partition
from anerf.scene.made.survey import make_survey
from anerf.scene.prepare import prepare_scene
from anerf.scene.scene import Scene, load_scene
from anerf.scene.update import update_scene
from tests.ray_place import must_leave_at_once

# Ray reads these once a process, when it is first imported: all tests in this process agree on one token, and
# what their Rays write goes with the process. Sockets lie below the folder, so its path is short.
_PLACE = tempfile.TemporaryDirectory(prefix="anerf-test-", ignore_cleanup_errors=True)
os.environ["RAY_TMPDIR"] = _PLACE.name
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(Path(_PLACE.name) / "token")
Path(os.environ["RAY_AUTH_TOKEN_PATH"]).write_text("a" * 64, encoding="utf-8")

SHARED = Path(__file__).resolve().parents[2] / "shared"

# How long an example takes says nothing about the code on a busy machine. CI tries the same examples each
# time, so that it judges the change; people's runs look for new ones.
hypothesis.settings.register_profile("anerf", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("anerf")


_SESSION = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_SESSION] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if must_leave_at_once():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_SESSION].exitstatus)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs and golden vectors that lies beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip(
            f"no real survey data at {SHARED}: put the drz and caliterra folders under {SHARED / 'data'}"
        )
    return SHARED


@pytest.fixture(params=[variant.name for variant in machine_variants()])
def kernel_variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each variant of the kernels that runs on this machine, taken for the test; the name."""
    monkeypatch.setenv(library.CHOICE, request.param)
    library.kernels.cache_clear()
    try:
        library.kernels()
    except BackendError as error:
        pytest.skip(f"no kernels {request.param} here: {error}")
    else:
        yield request.param
    finally:
        library.kernels.cache_clear()


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads our kernels take, until the test's end."""
    with ExitStack() as stack:
        yield lambda n: stack.enter_context(kernel_threads(n))


@pytest.fixture(scope="session")
def tiny_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made survey in its tiny size: flights `before` (16 photographs) and `after` (8), and the truth."""
    out = tmp_path_factory.mktemp("tiny") / "survey"
    make_survey(out, size="tiny")
    return out


@pytest.fixture(scope="session")
def tiny_scene(tiny_survey: Path) -> Scene:
    """The tiny survey prepared, partitioned 2 x 2 as `g22` and updated with the flight `after`: read only."""
    root = tiny_survey.parent / "scene"
    grid_partition(prepare_scene(tiny_survey / "before", root), 2, 2, margin=1.1, name="g22")
    update_scene(root, tiny_survey / "after", "after")
    return load_scene(root)


@pytest.fixture(scope="session")
def halved_scene(tiny_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same scene, partitioned 2 x 1 as `g21`: read only."""
    root = tmp_path_factory.mktemp("halved") / "scene"
    shutil.copytree(tiny_scene.root, root)
    grid_partition(load_scene(root), 2, 1, margin=1.1, name="g21")
    return root


@pytest.fixture(scope="session")
def train_job(tiny_scene: Scene) -> Callable[..., dict[str, Any]]:
    """Makes the content of a training job that is done in seconds."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "op": "train",
            "scene": str(tiny_scene.root),
            "mask_dirname": "g22",
            "algo": "plain",
            "downscale": 1.0,
            "outer_steps": 20,
            "rays_per_step": 256,
            "ray_samples": 8,
            "log2_hashmap_size": 12,
            "n_levels": 4,
            "max_resolution": 128,
            "color_space": "srgb",
            "sync_step": 5,
            "eval_step": 1000,
            "save_step": 10,
            "max_test_tasks": 1,
            "lpips": False,
            **changes,
        }

    return make


@pytest.fixture(scope="session")
def eval_job(tiny_scene: Scene) -> Callable[..., dict[str, Any]]:
    """Makes the content of an adaptation job for what `train_job` has trained."""

    def make(checkpoint: Path, **changes: Any) -> dict[str, Any]:
        return {
            "op": "eval",
            "scene": str(tiny_scene.root),
            "checkpoint_path": str(checkpoint),
            "prefix": "last",
            "batch": "after",
            "downscale": 1.0,
            "tto": "2,4",
            "support_rays": 256,
            "ray_samples": 8,
            "color_space": "srgb",
            "lpips": False,
            **changes,
        }

    return make


_WIDE = (1800.0, 1805.0, 2010.0, 1490.0)
_LENSES: dict[str, tuple[float, ...]] = {
    "SIMPLE_PINHOLE": (3000.0, 2010.0, 1490.0),
    "PINHOLE": (3000.0, 3010.0, 2010.0, 1490.0),
    "SIMPLE_RADIAL": (3000.0, 2010.0, 1490.0, -0.08),
    "RADIAL": (3000.0, 2010.0, 1490.0, -0.12, 0.05),
    "OPENCV": (3000.0, 3010.0, 2010.0, 1490.0, -0.27, 0.11, 1e-3, -8e-4),
    "OPENCV_FISHEYE": (*_WIDE, 0.03, -0.01, 0.004, -0.001),
    "FULL_OPENCV": (3000.0, 3010.0, 2010.0, 1490.0, 0.3, 0.1, 1e-3, -8e-4, 0.02, 0.5, 0.12, 0.01),
    "FOV": (*_WIDE, 0.9),
    "SIMPLE_RADIAL_FISHEYE": (1800.0, 2010.0, 1490.0, -0.02),
    "RADIAL_FISHEYE": (1800.0, 2010.0, 1490.0, 0.03, -0.008),
    "THIN_PRISM_FISHEYE": (*_WIDE, 0.03, -0.01, 5e-4, -4e-4, 0.004, -0.001, 2e-4, -3e-4),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(*_WIDE, 0.03, -0.01, 0.004, -0.001, 1e-4, -1e-5),
        *(5e-4, -4e-4, 2e-4, -1e-4, -3e-4, 5e-5),
    ),
    "SIMPLE_DIVISION": (3000.0, 2010.0, 1490.0, -0.12),
    "DIVISION": (3000.0, 3010.0, 2010.0, 1490.0, 0.1),
    "SIMPLE_FISHEYE": (1800.0, 2010.0, 1490.0),
    "FISHEYE": _WIDE,
    "EUCM": (*_WIDE, 0.6, 1.1),
    "EQUIRECTANGULAR": (4000.0, 3000.0),
}


@pytest.fixture(scope="session")
def lens_cameras() -> dict[str, Camera]:
    """A camera of 4000 x 3000 pixels of every model, bent as on drones and action cameras."""
    return {model: Camera(model, 4000, 3000, params) for model, params in _LENSES.items()}

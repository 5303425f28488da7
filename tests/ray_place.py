"""A Ray of the test's own process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def ray_of_our_own(**options: Any) -> Iterator[Any]:
    """A Ray of 2 CPUs on loopback whose workers find what the tests import; `options` go to `ray.init`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(["", os.environ.get("PYTHONPATH", "")]).strip(os.pathsep))
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            _node_ip_address="127.0.0.1", **options,
        )  # fmt: skip
        yield ray
        ray.shutdown()

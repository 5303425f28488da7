"""A Ray of the test's own process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_started: list[dict[str, Any]] = []


def must_leave_at_once() -> bool:
    """Whether this process must not end as others do.

    Ray 2.60 leaves a thread behind for every `ray.init` but the first, also after `ray.shutdown`: it goes on
    exporting metrics, fails, and logs that with what the process's exit has destroyed by then (SIGSEGV in
    `std::_Hash_bytes`, called by `OpenTelemetryMetricExporter::Export`).
    """
    return len(_started) > 1


@contextmanager
def ray_of_our_own(**options: Any) -> Iterator[Any]:
    """A Ray of 2 CPUs on loopback whose workers find what the tests import; `options` go to `ray.init`."""
    _started.append(options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(["", os.environ.get("PYTHONPATH", "")]).strip(os.pathsep))
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            _node_ip_address="127.0.0.1", **options,
        )  # fmt: skip
        yield ray
        ray.shutdown()

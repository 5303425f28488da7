"""Asks Ray's autoscaler for machines that a waiting job needs; without one, nothing happens."""

import math

from ray.autoscaler.sdk import request_resources

from anerf.jobs.turns import Resources

_GIB = 2**30


def bundles_of(wanted: Resources) -> list[dict[str, int]]:
    """`wanted` as pieces that may lie on different machines: a GPU with a CPU, a CPU, a GiB each."""
    n_gpus, n_cpus = math.ceil(wanted.gpus), math.ceil(wanted.cpus)
    with_gpu = min(n_gpus, n_cpus)
    return (
        [{"GPU": 1, "CPU": 1}] * with_gpu
        + [{"GPU": 1}] * (n_gpus - with_gpu)
        + [{"CPU": 1}] * (n_cpus - with_gpu)
        + [{"memory": _GIB}] * math.ceil(wanted.memory_gib)
    )


class Autoscaler:
    """Tells the autoscaler what the cluster should hold, where that has changed. Used under one lock."""

    def __init__(self) -> None:
        self._told: Resources | None = None

    def want(self, total: Resources | None) -> None:
        """Let the cluster grow to `total`; None: to whatever it likes."""
        if total != self._told:
            request_resources(bundles=[] if total is None else bundles_of(total))
            self._told = total

"""Which backend a job learns with."""

import pytest
import torch

from anerf.errors import BackendError, JobError
from anerf.field.backend import choose_backend
from anerf.jobs.settings import backend_name
from anerf.jobs.spec import parse_job


def job(**changes):
    return parse_job({"op": "train", "scene": "s", **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "auto"),
        ({"algo": "plain", "backend": "torch"}, "torch"),
        ({"algo": "maml"}, "torch"),  # the only one with a second derivative
        ({"op": "eval", "checkpoint_path": "c", "backend": "cpu"}, "cpu"),
    ],
)
def test_maml_learns_on_torch_and_others_as_asked(changes, expected):
    assert backend_name(job(**changes)) == expected


@pytest.mark.parametrize("backend", ["cpu", "tcnn"])
def test_maml_on_kernels_is_refused_at_the_door(backend):
    with pytest.raises(JobError, match=f"`backend` is '{backend}', which has no second.*give torch"):
        job(algo="maml", backend=backend)


def test_auto_takes_the_kernels_on_a_cpu():
    assert choose_backend("auto", torch.device("cpu")).name == "cpu"
    assert choose_backend("auto", torch.device("cuda")).name == "torch"


def test_the_kernels_compute_on_cpus_alone():
    with pytest.raises(BackendError, match="computes on CPUs, not on cuda"):
        choose_backend("cpu", torch.device("cuda"))

"""What a job that is too large for the cluster asks the autoscaler for."""

from actors.autoscaling import bundles_of
from anerf.jobs.turns import Resources
from tests.actors.scheduler_bench import Bench


def test_pieces_fit_machines_of_any_size():
    assert bundles_of(Resources(cpus=2.5, gpus=1.5, memory_gib=0.5)) == [
        {"GPU": 1, "CPU": 1}, {"GPU": 1, "CPU": 1}, {"CPU": 1}, {"memory": 2**30},
    ]  # fmt: skip
    assert bundles_of(Resources(cpus=1, gpus=2)) == [{"GPU": 1, "CPU": 1}, {"GPU": 1}]
    assert bundles_of(Resources()) == []


def test_it_is_asked_while_such_a_job_waits(tmp_path):
    bench = Bench(tmp_path)
    bench.submit("big", cpus=64)
    bench.scheduler.tick()
    assert bench.runner.wanted == Resources(cpus=64)
    bench.scheduler.cancel("big")
    bench.scheduler.tick()
    assert bench.runner.wanted is None

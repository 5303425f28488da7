"""Calls to many experts, and the pool, on a real Ray with experts that sleep instead of learning."""

import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from actors.each import Deposed
from anerf.errors import CheckpointError
from anerf.jobs.events import JobLog
from anerf.jobs.spec import TrainJob
from tests.diaries import events_of
from tests.ray_place import ray_of_our_own

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[Any]:
    with ray_of_our_own(logging_level=logging.ERROR) as ray:
        yield ray


class Heard:
    """A listener of calls that brings a process back by waiting for Ray to do it."""

    def __init__(self, actor):
        self.actor, self.mended, self.silences = actor, [], []

    def mend(self, expert, error):
        import ray

        self.mended.append((expert, type(error).__name__))
        ray.get(self.actor.ready.options(max_task_retries=-1).remote(expert), timeout=60)

    def silent(self, experts):
        self.silences.append(list(experts))


def begun(actor, method, args_of, heard):
    from actors.fan_out import Calls, Listener

    def start(_group, experts):
        return actor.each.remote(method, {expert: args_of(expert) for expert in experts})

    calls = Calls(start, Listener(heard.mend, heard.silent))
    calls.begin((0, 1, 2), (0, 1, 2))
    return calls


def finished(calls):
    while calls.waiting:
        calls.poll()
    return calls.results


@pytest.fixture
def actor(ray_here):
    from actors.simulated import SimulatedExperts

    actor = SimulatedExperts.options(num_cpus=0).remote((0, 1, 2), 0.01)
    yield actor
    ray_here.kill(actor)


def test_results_come_by_expert_and_one_that_was_put_back_is_asked_again_alone(actor):
    heard = Heard(actor)
    stands = {0: 0, 1: 7, 2: 0}

    def mend(expert, error):
        heard.mended.append((expert, type(error).__name__))
        stands[expert] = 0

    heard.mend = mend
    reports = finished(begun(actor, "advance", lambda expert: (stands[expert], 2), heard))
    assert {expert: report.step for expert, report in reports.items()} == {0: 2, 1: 2, 2: 2}
    assert heard.mended == [(1, "StepMismatch")]


def test_an_experts_own_error_comes_as_it_is_and_a_slip_of_ours_with_its_trace(actor):
    from ray.exceptions import RayTaskError

    with pytest.raises(CheckpointError):
        finished(begun(actor, "save", lambda _: (0, "/nowhere"), Heard(actor)))
    with pytest.raises(RayTaskError, match="has no attribute 'nonsense'"):
        finished(begun(actor, "nonsense", lambda _: (), Heard(actor)))


def test_a_process_that_dies_is_mended_and_asked_again(actor, ray_here):
    heard = Heard(actor)
    finished(begun(actor, "ready", lambda _: (), heard))
    # Long enough to be killed in it, and short when asked again.
    calls = begun(actor, "advance", lambda _: (0, 10 if heard.mended else 3000), heard)
    time.sleep(0.3)
    ray_here.kill(actor, no_restart=False)
    assert {expert: report.step for expert, report in finished(calls).items()} == {0: 10, 1: 10, 2: 10}
    assert heard.mended == [(expert, "ActorDiedError") for expert in (0, 1, 2)] or heard.mended == [
        (expert, "ActorUnavailableError") for expert in (0, 1, 2)
    ]


def test_silence_is_told_with_those_who_are_waited_for(actor, monkeypatch):
    monkeypatch.setattr("actors.fan_out.NOTICE_S", 0.3)
    heard = Heard(actor)
    calls = begun(actor, "advance", lambda expert: (0, 3000), heard)
    while calls.waiting and not heard.silences:
        calls.poll()
    assert heard.silences == [[0, 1, 2]]


def pool_of(folder, start, n=4, term=0, **fields):
    from actors.expert_pool import ExpertPool

    folder.mkdir(exist_ok=True)
    job = TrainJob(job_id=folder.name, scene="nowhere", **fields)
    return ExpertPool(job, str(folder), range(n), JobLog(folder), lambda: False, start, term=term)


def test_a_coordinator_whose_experts_were_taken_over_can_do_nothing_more(tmp_path):
    from actors.simulated import SimulatedExperts

    processes = {}

    def start(options, _folder, group, _threads):
        if group not in processes:
            processes[group] = SimulatedExperts.options(**options).remote(group, 0.001)
        return processes[group]

    first, next_one = (pool_of(tmp_path / "job", start, n=2, term=term) for term in (1, 2))
    first.load()
    first.advance(10)
    assert next_one.load() == 10
    with pytest.raises(Deposed, match="run 2 of the job has taken over its experts"):
        first.advance(20)
    first.leave()
    first.stop()
    assert {expert: report.step for expert, report in next_one.advance(20).items()} == {0: 20, 1: 20}
    next_one.stop()
    assert JobLog(tmp_path / "job").read()[0] == [], "nobody was mended"


def test_a_round_goes_on_without_a_slow_expert_which_catches_up(tmp_path, monkeypatch):
    from actors.simulated import SimulatedExperts

    monkeypatch.setattr("actors.fan_out.LATE_AFTER_S", 0.5)

    def start(options, _folder, group, _threads):
        return SimulatedExperts.options(**options).remote(group, 0.4 if 3 in group else 0.001)

    pool = pool_of(tmp_path / "slow", start)
    try:
        assert pool.load() == 0
        started = time.monotonic()
        assert sorted(pool.advance(20, wait_for_all=False)) == [0, 1, 2]
        assert time.monotonic() - started < 7, "the slow one needs 8 s"
        assert pool.present() == [0, 1, 2]
        pool.sync_background()
        assert sorted(pool.advance(22, wait_for_all=False)) == [0, 1, 2]
        assert set(pool.call("background")) == {0, 1, 2, 3}, "who needs all waits for all"
        assert pool.present() == [0, 1, 2, 3]
        assert pool.step == 22
    finally:
        pool.stop()
    messages = [event["message"] for event in events_of(tmp_path / "slow", "log")]
    assert messages == ["experts 3 are late: the others go on without them", "experts 3 are back"]


def test_experts_of_a_killed_process_come_back_to_where_the_others_are(tmp_path, ray_here):
    from actors.simulated import SimulatedStart

    pool = pool_of(tmp_path / "killed", SimulatedStart(0.01), experts_per_actor=2)
    try:
        pool.load()
        pool.advance(10)
        ray_here.kill(pool._actor(3), no_restart=False)
        assert {report.step for report in pool.advance(20).values()} == {20}
        assert set(pool.call("background")) == {0, 1, 2, 3}
    finally:
        pool.stop()
    assert {event["expert"] for event in events_of(tmp_path / "killed", "expert_lost")} == {2, 3}
    assert {event["expert"] for event in events_of(tmp_path / "killed", "expert_restored")} == {2, 3}


def test_a_simulated_training_costs_what_is_counted(tmp_path):
    from cluster.bench_coordinator import measure

    cost = measure(6, per_actor=3, train_s=0.2, rounds=2, job_dir=tmp_path / "bench")
    # Two processes: advance, background, its mean, evidence, exposures set; one is asked for those it has.
    assert (cost.processes, cost.calls) == (2, 5 * 2 + 1)
    assert cost.round_s >= cost.train_s
    assert cost.overhead_ms == pytest.approx(1000 * (cost.round_s - 0.2) / 6)
    assert min(cost.cpu_ms, cost.coordinator_mib, cost.experts_mib, cost.ray_mib, cost.checkpoint_s) > 0
    (manifest,) = (tmp_path / "bench" / "checkpoints").glob("*/manifest.json")
    assert len(json.loads(manifest.read_text())["shards"]) == 6
    assert len(events_of(tmp_path / "bench", "checkpoint")) == 2


def test_training_with_ray_is_what_it_is_in_one_process(tmp_path, train_job: Any):
    from cluster.bench_ray_share import measure

    job = TrainJob.model_validate(train_job(job_id="share", outer_steps=1000, experts_per_actor=2))
    share = measure(job, 1, tmp_path)  # or it raises: losses are compared
    assert (share.experts, share.per_actor, share.cores, share.steps) == (4, 2, 2, 5)
    assert share.share == pytest.approx(share.with_ray_s / share.alone_s - 1)
    assert share.with_ray_cpu_s > share.coordinator_cpu_s >= 0


def test_workers_are_kept_warm(ray_here):
    from actors.warmth import WarmWorkers, n_idle

    class Keeper:
        def __init__(self):
            self.warm = WarmWorkers(3)

        def top_up(self):
            return self.warm.top_up()

        def idle(self):
            return n_idle(os.getppid())

    keeper = ray_here.remote(num_cpus=0)(Keeper).remote()
    deadline = time.monotonic() + 60
    # Looked at together: Ray may end one that is idle, and it is asked for another.
    while ray_here.get(keeper.top_up.remote()) > 0 or ray_here.get(keeper.idle.remote()) < 3:
        assert time.monotonic() < deadline, "no idle workers come"
        time.sleep(0.2)
    ray_here.kill(keeper)


def test_experts_without_a_coordinator_end_themselves_when_their_time_is_up(ray_here):
    from actors import named
    from actors.names import JOB_PREFIX, NAMESPACE

    @ray_here.remote(num_cpus=0)
    class Actor:
        def ready(self):
            return True

        def watch(self, job_id, alone_s):
            named.ALONE_S, named._LOOK_S = alone_s, 0.1
            named.end_when_alone(job_id)

    def start(name):
        detached = {"name": name, "namespace": NAMESPACE, "lifetime": "detached"}
        return Actor.options(**detached, max_restarts=-1).remote()

    experts = named.expert_name("left", (0,))
    coordinator, expert = start(JOB_PREFIX + "left"), start(experts)
    ray_here.get([coordinator.ready.remote(), expert.watch.remote("left", 0.5)])
    time.sleep(1)
    assert ray_here.get(expert.ready.remote())  # as long as there is a coordinator
    ray_here.kill(coordinator)
    deadline = time.monotonic() + 30
    while named.find(experts) is not None:  # also not brought back by Ray
        assert time.monotonic() < deadline
        time.sleep(0.1)

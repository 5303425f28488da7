"""Jobs are sent while processes are killed at random: each valid one ends once, in the right state, and
each invalid one is set aside. `make chaos` sends two hundred in ten minutes; by itself a small run."""

import collections
import contextlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from actors.names import CONSUMER_GROUP, DEAD_LETTER_TOPIC, JOB_TOPIC
from anerf.checkpoint.manifest import read_manifest
from anerf.checkpoint.resolve import complete_steps, resolve_checkpoint
from anerf.jobs.states import JobState
from cluster.processes import listens
from cluster.stack import read_stack
from cluster.up import KAFKA_FOLDER
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.stack_place import Place, messages, processes, wait_for

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LARGE = SECONDS >= 300
N_VALID, N_SPECIAL = (140, 20) if LARGE else (10, 3)
UP = ("up", "--no-serve", "--num-cpus", "2", "--warm", "4")
STEPS = 12
DRAIN_S = 1500.0 if LARGE else 450.0

# What is waited for at most: the storm, both threads, the jobs, and the small waits after that.
pytestmark = [
    pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(SECONDS + 3 * DRAIN_S + 300)
]  # fmt: skip


@pytest.fixture
def place(tmp_path):
    here = Place(tmp_path)
    here.anerf(*UP)
    yield here
    if read_stack(here.out) is not None:
        here.anerf("down")


def events(place: Place, job_id: str) -> list[dict]:
    """A job's events; a line that a killed writer left torn is nobody's."""
    found = []
    for line in (place.out / job_id / "events.jsonl").read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def ends(place: Place, job_id: str) -> list[str]:
    """The states in which a job ended: one, if all is well."""
    if not (place.out / job_id / "events.jsonl").exists():
        return []
    states = [JobState(e["state"]) for e in events(place, job_id) if e["kind"] == "state"]
    return [state for state in states if state.is_terminal]


def committed(servers: str) -> int:
    """The offset up to which the job topic has been dealt with; -1 where the broker does not say in time."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": CONSUMER_GROUP, "log_level": 0})
    try:
        (partition,) = consumer.committed([TopicPartition(JOB_TOPIC, 0)], timeout=10)
    except KafkaException:
        return -1
    finally:
        consumer.close()
    return partition.offset


def test_every_job_ends_once_in_the_right_state(place, halved_scene, record_property):
    load = Load(
        valid=N_VALID, doubled=N_SPECIAL, invalid=N_SPECIAL, cancelled=N_SPECIAL, seed=SEED,
        job={
            "op": "train", "scene": str(halved_scene), "mask_dirname": "g21", "num_submodules": 2,
            "downscale": 1.0, "outer_steps": STEPS, "rays_per_step": 64, "ray_samples": 8,
            "log2_hashmap_size": 10, "n_levels": 4, "max_resolution": 64, "eval_step": 1000, "save_step": 6,
            "sync_step": 4, "lpips": False, "max_test_tasks": 1, "cpus": 0.5,
            "experts_per_actor": 2, "max_attempts": 100,
        },
    )  # fmt: skip
    storm = Storm(place, UP, SEED, (0.5, 4.0) if LARGE else (0.3, 2.7))  # twenty hits in the small run
    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(place, SECONDS)) for work in (load.send, load.cancel)]
    for thread in threads:
        thread.start()
    storm.rage(SECONDS)
    for thread in threads:
        thread.join(DRAIN_S)
        assert not thread.is_alive(), "messages cannot be sent or cancelled"
    wait_for(lambda: all(ends(place, job_id) for job_id in load.job_ids), DRAIN_S)
    seconds = time.monotonic() - began

    # Exactly the jobs that were sent, each ended once.
    assert {path.parent.name for path in place.out.glob("*/job.json")} == load.job_ids
    of = {job_id: ends(place, job_id) for job_id in load.job_ids}
    assert {job_id: states for job_id, states in of.items() if len(states) != 1} == {}
    to_cancel = {job_id for _, job_id in load.cancels}
    wrong = {
        job_id: (state, place.shown(job_id)["message"])
        for job_id, (state,) in of.items()
        if state != JobState.SUCCEEDED and not (job_id in to_cancel and state == JobState.CANCELLED)
    }
    assert wrong == {}
    for job_id in load.job_ids:
        assert sum(event["kind"] == "accepted" for event in events(place, job_id)) == 1
        steps = complete_steps(str(place.out / job_id / "checkpoints"))
        if of[job_id] == [JobState.SUCCEEDED]:
            assert read_manifest(resolve_checkpoint(str(place.out / job_id), "last")).step == steps[-1]
            assert steps[-1] in (STEPS, 400)

    # What is no job is a dead letter with its bytes and a reason. At least once: a letter whose sender was
    # killed before its offset was stored is sent again, with the same origin.
    stack = place.stack
    refused = load.refused()
    letters = messages(
        stack, DEAD_LETTER_TOPIC, lambda found: {m.key().decode() for m in found} >= set(refused)
    )
    assert {m.key().decode() for m in letters} == set(refused)
    assert all(m.value() == refused[m.key().decode()] and dict(m.headers())["reason"] for m in letters)
    origins = {m.key(): dict(m.headers())["offset"] for m in letters}
    assert len(set(origins.values())) == len(refused)
    wait_for(lambda: committed(str(stack.bootstrap_servers)) >= len(load.sendings))

    # Nothing is left over; what the broker has in its own folder, which was killed too, is its affair.
    place.anerf("down")
    found = [path for pattern in (".*tmp*", ".*.part") for path in place.out.rglob(pattern)]
    left = [path for path in found if KAFKA_FOLDER not in path.parts]
    assert processes(stack) == []
    assert not any(listens(port) for port in stack.ports.values())
    assert not Path(stack.run_dir).exists()
    assert left == []
    attempts = collections.Counter(
        max(e.get("attempt", 0) for e in events(place, job_id) if e["kind"] == "state")
        for job_id in load.job_ids
    )
    report = {
        "seed": SEED,
        "storm_s": SECONDS,
        "seconds": round(seconds),
        "hits": dict(storm.hits),
        "states": dict(collections.Counter(str(state) for (state,) in of.values())),
        "runs_a_job": dict(sorted(attempts.items())),
        "letters": [len(refused), len(letters)],
    }
    record_property("chaos", json.dumps(report))
    if target := os.environ.get("CHAOS_REPORT"):
        with Path(target).open("a") as file:
            file.write(json.dumps(report) + "\n")

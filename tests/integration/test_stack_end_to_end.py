"""The stack as a user meets it: up, jobs through Kafka, kills of all kinds, down."""

import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from actors.names import DEAD_LETTER_TOPIC, STATUS_TOPIC
from anerf.jobs.news_schema import status_schema
from cluster.processes import listens
from cluster.stack import Stack, read_stack
from tests.stack_place import Place, files_with, messages, process_of, processes, wait_for

pytestmark = pytest.mark.integration

TITLES = ("raylet", "gcs_server", "tansu", "ray::DashboardAgent", "ray-dashboard-")
UP = ("up", "--no-serve", "--num-cpus", "2")
SECRET = "correct-horse-battery"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A place where the stack is up; in the end it is down, and nothing is left."""
    here = Place(tmp_path_factory.mktemp("stack"))
    # Not asked for by the embedded broker, and still nobody's business.
    (here.root / "kafka.properties").write_text(f"sasl.username=anna\nsasl.password={SECRET}\n")
    here.anerf(*UP, "--kafka-config", "kafka.properties")
    yield here
    stack = read_stack(here.out)
    here.anerf("down")
    assert stack is not None
    assert processes(stack) == []
    assert not any(listens(port) for port in stack.ports.values())
    assert not Path(stack.run_dir).exists()
    assert not (here.out / "stack.json").exists()


def test_a_job_without_a_scene_fails_with_one_sentence(place):
    assert place.anerf("send", place.job("lost"), "--traceparent", TRACE).splitlines()[0] == "lost"
    told = place.anerf("jobs", "watch", "lost", status=1)
    assert f"{place.root}/nowhere" in told
    shown = place.shown("lost")
    assert (shown["state"], shown["attempt"]) == ("FAILED", 1)
    assert "\n" not in shown["message"]
    assert place.states("lost") == ["QUEUED", "RUNNING", "FAILED"]


def test_the_same_message_again_changes_nothing_and_another_is_set_aside(place):
    place.anerf("send", place.job("lost"))
    place.anerf("send", place.job("lost", seed=1))
    (place.root / "garbage").write_bytes(b"\xff\x00garbage")
    place.anerf("send", "--raw", "garbage")
    letters = messages(place.stack, DEAD_LETTER_TOPIC, lambda found: len(found) >= 2)
    # What is garbage at first sight may overtake what the Mediator refuses.
    letters.sort(key=lambda letter: int(dict(letter.headers())["offset"]))
    reasons = [dict(letter.headers())["reason"].decode() for letter in letters]
    assert "there is a job lost with other settings already" in reasons[0]
    assert "is not UTF-8" in reasons[1]
    assert letters[1].value() == b"\xff\x00garbage"
    assert dict(letters[1].headers())["topic"] == b"nerfConfigs"
    assert place.states("lost") == ["QUEUED", "RUNNING", "FAILED"]


def metrics(stack: Stack, name: str) -> dict[str, float]:
    """What Prometheus would read of a metric, found as docs/operations.md says: values by their labels."""
    found = {}
    targets = json.loads((Path(stack.run_dir) / "ray" / "prom_metrics_service_discovery.json").read_text())
    for address in {address for target in targets for address in target["targets"]}:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:  # not a node's, or not up yet
            continue
        for series, _, value in (line.rpartition(" ") for line in lines):
            if series.split("{")[0] == name:
                found[series.removeprefix(name)] = float(value)
    return found


def test_prometheus_reads_how_many_jobs_and_dead_letters_there_are(place):
    wait_for(lambda: sum(metrics(place.stack, "ray_anerf_dead_letters_total").values()) == 2)
    wait_for(lambda: list(metrics(place.stack, "ray_anerf_consumer_lag_messages").values()) == [0])
    wait_for(lambda: jobs_told(place.stack) == {"FAILED": 1})
    wait_for(lambda: list(metrics(place.stack, "ray_anerf_queue_age_seconds").values()) == [0])


def jobs_told(stack: Stack) -> dict[str, float]:
    """How many jobs are in which state."""
    jobs = metrics(stack, "ray_anerf_jobs")
    of_state = {re.findall(r'state="(\w+)"', labels)[0]: value for labels, value in jobs.items()}
    return {state: n for state, n in of_state.items() if n}


def test_the_status_topic_tells_how_jobs_fare(place):
    def ended(found):
        return any(m.key() == b"lost" and json.loads(m.value())["state"] == "FAILED" for m in found)

    of_job = [m for m in messages(place.stack, STATUS_TOPIC, ended) if m.key() == b"lost"]
    told = [json.loads(m.value()) for m in of_job]
    for message, content in zip(of_job, told, strict=True):
        assert dict(message.headers()) == {"anerf-version": b"1", "traceparent": TRACE.encode()}
        Draft202012Validator(status_schema()).validate(content)
    log = (place.out / "lost" / "log.txt").read_text()
    assert all(f"job=lost trace={TRACE[3:35]} " in line for line in log.splitlines() if "job=" in line)
    assert told[0]["version"] == 1
    assert told[-1]["message"] == place.shown("lost")["message"]


def test_no_secret_stands_in_any_log_or_file(place):
    """Kafka's password, in what the stack and Ray wrote so far."""
    told, looked = files_with(SECRET.encode(), Path(place.stack.run_dir), place.out)
    assert told == []
    assert looked > 20


def test_mediator_and_ingestor_come_back_after_a_kill(place):
    stack = place.stack
    assert all(process_of(stack, title) for title in TITLES)
    os.kill(process_of(stack, "ray::Mediator"), signal.SIGKILL)
    os.kill(process_of(stack, "ray::KafkaIngestor"), signal.SIGKILL)
    place.anerf("send", place.job("after-kill"))
    wait_for((place.out / "after-kill" / "job.json").exists, 120)
    place.anerf("jobs", "watch", "after-kill", status=1)
    assert place.states("lost") == ["QUEUED", "RUNNING", "FAILED"]


def test_up_says_that_it_is_up_and_the_dashboard_asks_for_the_token(place):
    assert "is up already" in place.anerf(*UP)
    assert "alive" in place.anerf("status", "--json")
    url = f"http://127.0.0.1:{place.stack.dashboard_port}/api/version"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=10)
    assert refused.value.code == 401
    token = Path(str(place.stack.token_path))
    assert token.stat().st_mode & 0o077 == 0
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.read_text()}"})
    assert urllib.request.urlopen(request, timeout=10).status == 200


@pytest.fixture(scope="module")
def learnable(place, tiny_scene):
    """The fields of a small training job on a made scene, whose path begins where the stack was begun."""
    shutil.copytree(tiny_scene.root, place.root / "scene")
    return {
        "scene": "scene", "mask_dirname": "g22", "algo": "plain", "downscale": 1.0, "rays_per_step": 128,
        "ray_samples": 8, "log2_hashmap_size": 10, "n_levels": 4, "max_resolution": 64, "eval_step": 10_000,
        "save_step": 10, "sync_step": 5, "lpips": False, "max_test_tasks": 1,
    }  # fmt: skip


def test_after_a_kill_of_everything_the_job_goes_on_and_a_second_message_does_nothing(place, learnable):
    def saved():
        return [event["step"] for event in place.events("long") if event["kind"] == "checkpoint"]

    job = place.job("long", outer_steps=100_000, **learnable)
    place.anerf("send", job)
    place.anerf("send", job)
    wait_for(saved, 120)
    place.kill_everything()
    before = len(saved())
    place.anerf("status", status=1)
    assert "did not end well" in place.anerf(*UP)
    place.anerf("send", job)
    wait_for(lambda: len(saved()) > before, 120)
    assert (steps := saved()) == sorted(set(steps)), "it did not begin at its last checkpoint"
    place.anerf("jobs", "stop", "long")
    place.anerf("jobs", "watch", "long")
    assert place.states("long") == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"]
    assert place.shown("long")["attempt"] == 2, "the number of the run"


def test_a_queued_and_a_running_job_are_cancelled(place, learnable):
    place.anerf("send", place.job("endless", outer_steps=100_000, **learnable))
    place.anerf("send", place.job("behind", outer_steps=100_000, **learnable))
    wait_for(
        lambda: (place.out / "endless" / "checkpoints").is_dir() and (place.out / "behind").is_dir(), 120
    )
    assert "endless has ended" in place.anerf("jobs", "show", "behind")
    assert "CANCELLED" in place.anerf("jobs", "cancel", "behind")
    place.anerf("jobs", "cancel", "endless")
    assert "CANCELLED" in place.anerf("jobs", "watch", "endless", status=1)


def test_run_does_a_job_without_kafka_and_only_once(place, learnable):
    job = place.job("direct", outer_steps=20, **learnable)
    assert "SUCCEEDED" in place.anerf("run", job)
    assert "has succeeded already" in place.anerf("run", job)
    assert place.states("direct") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert place.shown("direct")["origin"] == "run"

"""Jobs over HTTP on a whole stack: sent, followed, looked at while they learn, and cancelled in every state.

The stack listens on all addresses, so everybody shows its token.
"""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import read_manifest
from anerf.checkpoint.resolve import complete_steps, step_folder
from anerf.jobs.events import JobLog
from anerf.jobs.places import find_checkpoint
from anerf.products.film import FilmLook, film_frame
from anerf.products.path_file import read_path
from cluster.stack import read_stack
from tests.stack_place import Place, files_with, process_of, processes, rooms, titles, wait_for, written_at

pytestmark = pytest.mark.integration

UP = ("up", "--num-cpus", "2", "--warm", "3", "--host", "0.0.0.0")
CANCEL_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    here = Place(tmp_path_factory.mktemp("http"))
    here.anerf(*UP)
    yield here
    if read_stack(here.out) is not None:
        here.anerf("down")


@pytest.fixture(scope="module")
def http(place):
    shown = {"Authorization": f"Bearer {token_of(place)}"}
    base_url = f"http://127.0.0.1:{place.stack.http_port}"
    with httpx.Client(base_url=base_url, timeout=30, headers=shown) as client:
        yield client


def token_of(place):
    return (place.out / ".http-token").read_text()


@pytest.fixture(scope="module")
def training(halved_scene):
    """Makes a training job of two experts that goes on for very long."""

    def make(job_id, **fields):
        return {
            "op": "train", "job_id": job_id, "scene": str(halved_scene), "mask_dirname": "g21",
            "num_submodules": 2, "downscale": 1.0, "outer_steps": 10**6, "rays_per_step": 256,
            "ray_samples": 8, "log2_hashmap_size": 10, "n_levels": 4, "max_resolution": 64,
            "eval_step": 10**6, "save_step": 10**6, "sync_step": 5, "lpips": False, "max_test_tasks": 1,
            **fields,
        }  # fmt: skip

    return make


def state(http, job_id):
    return http.get(f"/jobs/{job_id}").json()["state"]


def has(place, job_id, kind):
    return any(event["kind"] == kind for event in place.events(job_id))


def experts(place):
    return [pid for pid, title in titles(place.stack).items() if "ray::ExpertActor" in title]


def test_a_job_is_sent_followed_to_its_end_and_known_ever_after(http, training):
    job = training("short", outer_steps=10)
    assert http.post("/jobs", json=job).status_code == 202
    with http.stream("GET", "/jobs/short/events") as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [e["state"] for e in told if e["kind"] == "state"] == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert {"progress", "checkpoint", "metrics"} <= {e["kind"] for e in told}
    again = http.post("/jobs", json=job)
    assert (again.status_code, again.json()["state"]) == (200, "SUCCEEDED")
    assert "training to step 10" in http.get("/jobs/short/log").text
    assert http.delete("/jobs/short").status_code == 200
    assert state(http, "short") == "SUCCEEDED"


def test_without_the_token_nothing_answers_and_nobody_writes_it_down(place, http):
    with httpx.Client(base_url=http.base_url, timeout=30) as stranger:
        for method, path in (
            ("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/jobs/short/log"), ("DELETE", "/jobs/short"),
            ("GET", "/scenes"), ("POST", "/render"), ("POST", "/rays"), ("GET", "/healthz"),
            ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere"),
        ):  # fmt: skip
            answer = stranger.request(method, path, params={"token": token_of(place)})
            assert answer.status_code == 401, path
            assert stranger.request(method, path, headers={"Authorization": "Bearer x"}).status_code == 401
    assert http.get("/healthz").json()["status"] == "ok"
    token = token_of(place).encode()
    told, _ = files_with(token, place.out, Path(place.stack.run_dir))
    assert told == [place.out / ".http-token"]
    assert (place.out / ".http-token").stat().st_mode & 0o777 == 0o600
    for process in processes(place.stack):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            assert token not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert token not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_job_is_looked_at_while_it_learns(place, http, training):
    """What a picture shows is no older than a second, and its step only grows."""
    assert http.post("/jobs", json=training("seen")).status_code == 202
    wait_learning(http, place, "seen")
    (entry,) = (e for e in http.get("/scenes").json() if e["checkpoint"] == "short")
    (x0, y0, _), (x1, y1, z1) = entry["box"]
    above = [[1, 0, 0, (x0 + x1) / 2], [0, 1, 0, (y0 + y1) / 2], [0, 0, 1, z1 + 100]]
    view = {"job": "seen", "c2w": above, "width": 64, "height": 48, "quality": "draft"}
    wait_for(lambda: http.post("/render", json=view).status_code == 200)
    steps, marks, seen = [], set(), time.time()
    for _ in range(12):
        asked = time.time()
        answer = http.post("/render", json=view)
        if answer.status_code == 503 and asked - seen > 1.5:
            continue  # we were away for so long that it thought nobody looks
        assert answer.status_code == 200, answer.text
        seen = time.time()
        steps.append(int(answer.headers["x-anerf-step"]))
        marks.add(answer.headers["x-anerf-mark"])
        assert steps[-1] >= step_due(place, "seen", asked)
        time.sleep(0.25)
    assert steps == sorted(steps)
    assert len(marks) == len(set(steps)) >= 3
    (spot,) = http.post("/pick", json={**view, "pixels": [[32, 24]]}).json()["places"]
    assert spot is None or z1 - 100 < spot["enu_m"][2] < z1 + 1
    http.delete("/jobs/seen")
    wait_for(lambda: state(http, "seen") == "CANCELLED")
    answer = http.post("/render", json=view)
    assert (answer.status_code, "checkpoint" in answer.json()["error"]) == (404, True)


def step_due(place, job_id, asked):
    """The step that a picture asked for then must show at least: of a second before.

    After weights that took long there is a pause five times as long: the longest stall counts that the diary
    shows around then.
    """
    reached = [(written_at(e), e["step"]) for e in place.events(job_id) if e["kind"] == "progress"]
    ends = [*(ended for ended, _ in reached), time.time()]
    allowed_s = 1 + 5 * max(b - a for a, b in pairwise(ends) if b > asked - 5)
    return max((step for ended, step in reached if asked - ended > allowed_s), default=0)


def test_a_job_is_the_same_through_kafka_and_http(place, http, training):
    job = training("both", outer_steps=2)
    place.anerf("send", place.job(**job))
    wait_for(lambda: http.get("/jobs/both").status_code == 200)
    assert http.post("/jobs", json=job).status_code == 200
    assert http.post("/jobs", json={**job, "seed": 5}).status_code == 409
    wait_for(lambda: state(http, "both") == "SUCCEEDED")
    assert place.states("both") == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_random_and_huge_bodies_and_names_are_refused(place, http):
    before = {path.name for path in place.out.iterdir()}
    dice = random.Random(3)
    for _ in range(300):
        assert 400 <= http.post("/jobs", content=dice.randbytes(dice.randrange(200))).status_code < 500
    assert status_of_a_huge_body(http) == 413
    for name in ("..%2f..%2fetc", "%2e%2e", "a%00b", "x" * 5000):
        for method in ("GET", "DELETE"):
            assert 400 <= http.request(method, f"/jobs/{name}").status_code < 500
    assert {path.name for path in place.out.iterdir()} == before


def status_of_a_huge_body(http):
    """What is answered before the body is there ends the connection, which may cut the answer off."""
    for _ in range(10):
        with suppress(httpx.ReadError):
            return http.post("/jobs", content=b"{" * (100 << 20)).status_code
    raise AssertionError("there is never an answer")


def wait_running(http, place, job_id):
    wait_for(lambda: state(http, job_id) == "RUNNING")


def wait_learning(http, place, job_id):
    wait_for(lambda: has(place, job_id, "progress"), 60)


def wait_in_its_first_step(http, place, job_id):
    wait_for(lambda: any("experts ready" in e.get("message", "") for e in place.events(job_id)), 60)
    time.sleep(0.5)
    assert not has(place, job_id, "progress"), "the step is too short to be in the midst of it"


def wait_frozen_while_loading(http, place, job_id):
    wait_for(lambda: experts(place), 30)
    for pid in experts(place):
        os.kill(pid, signal.SIGSTOP)


def wait_frozen(http, place, job_id):
    wait_learning(http, place, job_id)
    os.kill(experts(place)[0], signal.SIGSTOP)


def wait_measuring(http, place, job_id):
    wait_for(lambda: any("score_views" in title for title in titles(place.stack).values()), 60)


def wait_pausing(http, place, job_id):
    wait_learning(http, place, job_id)
    os.kill(process_of(place.stack, "ray::MetaCoordinator"), signal.SIGKILL)
    wait_for(lambda: place.states(job_id).count("QUEUED") == 2)  # the diary keeps what is soon over


def kill_the_coordinator(place, job_id):
    """Kill it in the midst of the training, and wait for the next one."""
    told = n_taken_over(place, job_id)
    os.kill(process_of(place.stack, "ray::MetaCoordinator"), signal.SIGKILL)
    wait_for(lambda: n_taken_over(place, job_id) > told)


def wait_taken_over(http, place, job_id):
    wait_learning(http, place, job_id)
    kill_the_coordinator(place, job_id)


def n_taken_over(place, job_id):
    return sum("experts taken over at step" in e.get("message", "") for e in place.events(job_id))


def steps(place, job_id):
    return [event["step"] for event in place.events(job_id) if event["kind"] == "progress"]


def was_cancelled_in_time(http, place, job_id, asked):
    """By the job's diary, so that what we wait for here does not count."""
    wait_for(lambda: state(http, job_id) == "CANCELLED")
    (end,) = [e for e in place.events(job_id) if e.get("state") == "CANCELLED"]
    took_s = written_at(end) - asked
    assert took_s < CANCEL_WITHIN_S, f"{job_id}: {took_s:.2f} s ({end['message']})"


@pytest.mark.parametrize(
    ("moment", "fields"),
    [
        (wait_running, {}),
        (wait_learning, {}),
        (wait_frozen_while_loading, {}),
        (wait_frozen, {}),
        (wait_measuring, {"eval_step": 1, "ray_samples": 4096}),
        (wait_in_its_first_step, {"rays_per_step": 500_000, "ray_samples": 64}),
        (wait_pausing, {}),
        (wait_taken_over, {}),
    ],
    ids=[
        *("starting", "learning", "loading", "frozen", "measuring", "in a long step", "in its pause"),
        "taken over",
    ],
)
def test_a_cancel_takes_effect_within_two_seconds(place, http, training, moment, fields, request):
    job_id = request.node.callspec.id.replace(" ", "-")
    behind = f"{job_id}-behind"
    assert http.post("/jobs", json=training(job_id, **fields)).status_code == 202
    assert http.post("/jobs", json=training(behind)).status_code == 202
    moment(http, place, job_id)
    for cancelled in (behind, job_id):
        asked = time.time()
        assert http.delete(f"/jobs/{cancelled}").status_code in (200, 202)
        assert http.delete(f"/jobs/{cancelled}").status_code in (200, 202), "twice is harmless"
        was_cancelled_in_time(http, place, cancelled, asked)
    wait_for(lambda: not experts(place))
    for step in complete_steps(str(place.out / job_id / "checkpoints")):
        assert read_manifest(step_folder(str(place.out / job_id / "checkpoints"), step)).step == step


def test_lost_coordinators_cost_no_step_and_no_bit(place, http, training):
    fields = {"outer_steps": 400, "save_step": 400, "sync_step": 20}
    assert http.post("/jobs", json=training("calm", **fields)).status_code == 202
    assert http.post("/jobs", json=training("bereft", placement="pack", **fields)).status_code == 202
    wait_for(lambda: max(steps(place, "bereft"), default=0) > 50, 180)
    assert rooms(place.stack) == ["experts-bereft"]
    kill_the_coordinator(place, "bereft")
    wait_for(lambda: steps(place, "bereft")[-1] > 150, 120)
    os.kill(process_of(place.stack, "ray::Mediator"), signal.SIGKILL)  # the coordinator ends with it
    wait_for(lambda: n_taken_over(place, "bereft") == 2)
    wait_for(lambda: "SUCCEEDED" in place.states("bereft"), 120)
    wait_for(lambda: not experts(place) and not rooms(place.stack))
    assert place.states("bereft") == [*("QUEUED", "RUNNING") * 3, "SUCCEEDED"]
    assert not has(place, "bereft", "expert_lost")
    assert steps(place, "bereft") == sorted(set(steps(place, "bereft")))
    calm, bereft = (
        read_manifest(find_checkpoint(str(place.out / job_id), "last")) for job_id in ("calm", "bereft")
    )
    assert (calm.step, bereft.step) == (400, 400)
    assert [r.sha256 for r in bereft.records()] == [r.sha256 for r in calm.records()]


def test_a_new_mediator_ends_experts_of_a_job_that_has_ended(place, http, training):
    assert http.post("/jobs", json=training("over", placement="spread")).status_code == 202
    wait_learning(http, place, "over")
    mediator = process_of(place.stack, "ray::Mediator")
    os.kill(mediator, signal.SIGSTOP)  # the next one must not come before the job's last word
    JobLog(place.out / "over").append("state", state="CANCELLED", message="was its last word")
    assert len(experts(place)) == 2
    os.kill(mediator, signal.SIGKILL)
    wait_for(lambda: not experts(place) and not rooms(place.stack))
    assert place.states("over") == ["QUEUED", "RUNNING", "CANCELLED"]


def test_a_viewer_is_closed_when_its_job_is_cancelled(place, http):
    job = {"op": "view", "job_id": "look", "checkpoint_path": str(place.out / "short"), "port": 0}
    http.post("/jobs", json=job)
    wait_for(lambda: any("viewer at" in e.get("message", "") for e in place.events("look")), 60)
    asked = time.time()
    http.delete("/jobs/look")
    was_cancelled_in_time(http, place, "look", asked)


def video(place, job_id, **fields):
    """Of the first training's checkpoint."""
    return {
        "op": "video", "job_id": job_id, "checkpoint_path": str(place.out / "short"), "prefix": "last",
        "camera_path": "turntable", "width": 64, "height": 48, "ray_samples": 8, "fps": 6, **fields,
    }  # fmt: skip


def test_a_video_of_a_damaged_checkpoint_fails_at_once_and_says_why(place, http):
    damaged = place.out / "damaged"
    shutil.copytree(place.out / "short" / "checkpoints", damaged / "checkpoints")
    os.truncate(max(damaged.glob("checkpoints/step*/experts/1.safetensors")), 100)
    http.post("/jobs", json=video(place, "unfilmed", checkpoint_path=str(damaged)))
    wait_for(lambda: state(http, "unfilmed") == "FAILED", 60)
    told = [event for event in place.events("unfilmed") if event["kind"] == "state"]
    assert [event["state"] for event in told] == ["QUEUED", "RUNNING", "FAILED"]
    assert "has 100 bytes where its manifest says" in told[-1]["message"]


def test_a_video_shows_the_frames_of_its_path_in_their_colours(place, http):
    assert http.post("/jobs", json=video(place, "film", seconds=3, layer="rgb_depth")).status_code == 202
    wait_for(lambda: state(http, "film") == "SUCCEEDED", 90)
    folder = place.out / "film"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["n_frames"], summary["width"], summary["height"]) == (18, 128, 48)
    steps = [(e["step"], e["of_steps"]) for e in place.events("film") if e["kind"] == "progress"]
    assert steps[-1] == (18, 18)
    with av.open(str(folder / "video.mp4")) as container:
        shown = [image.to_ndarray(format="rgb24") for image in container.decode(video=0)]
    model = load_scene_model(str(place.out / "short"), "last")
    keys = read_path(folder / "path.json", model.reference).frames(6)
    assert len(shown) == len(keys) == 18
    look = FilmLook("rgb_depth", 64, 48, 8)
    for i in (0, 7, 17):  # in their order, though two processes made them
        made = film_frame(model, None, look, keys[i], tuple(summary["depth_range_m"]))
        assert np.abs(shown[i].mean((0, 1)) - made.mean((0, 1))).max() < 1.5
        assert np.abs(shown[i].astype(float) - made).mean() < 6
    left = {path.name for path in folder.iterdir()}
    assert {"video.mp4", "path.json", "summary.json"} <= left
    assert not any(name.endswith(".tmp") for name in left)


def test_a_video_that_is_cancelled_or_loses_its_process_leaves_no_half_file(place, http):
    job = video(place, "long", seconds=600, fps=60)
    assert http.post("/jobs", json=job).status_code == 202
    wait_for(lambda: has(place, "long", "progress"), 60)
    os.kill(process_of(place.stack, "ray::FrameRenderer"), signal.SIGKILL)
    done = max(e["step"] for e in place.events("long") if e["kind"] == "progress")
    wait_for(lambda: any(e.get("step", 0) > done + 60 for e in place.events("long")), 60)
    assert place.states("long") == ["QUEUED", "RUNNING"]
    os.kill(process_of(place.stack, "ray::MetaCoordinator"), signal.SIGKILL)
    wait_for(lambda: place.states("long")[2:] == ["QUEUED", "RUNNING"], 60)
    again = len(place.events("long"))
    wait_for(lambda: any(e["kind"] == "progress" for e in place.events("long")[again:]), 60)
    wait_for(lambda: len([p for p in (place.out / "long").iterdir() if "video.mp4" in p.name]) == 1)
    asked = time.time()
    http.delete("/jobs/long")
    was_cancelled_in_time(http, place, "long", asked)
    wait_for(lambda: not any("FrameRenderer" in title for title in titles(place.stack).values()))
    assert not [path for path in (place.out / "long").iterdir() if "video.mp4" in path.name]


def test_the_api_outlives_a_killed_mediator(place, http):
    os.kill(process_of(place.stack, "ray::Mediator"), signal.SIGKILL)
    answer = http.get("/jobs/short")
    assert (answer.status_code, answer.json()["state"]) == (200, "SUCCEEDED")

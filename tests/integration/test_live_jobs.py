"""A running job, looked at and steered from another process, on a real Ray."""

import json
import logging
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from actors.limits import Limits
from actors.live import LiveScene
from actors.live_jobs import RayJobs
from actors.mediator import start_mediator
from actors.running import JobNotRunning, JobWithoutExperts, NoAnswer, RunningJob
from actors.starting import AdaptationRequest, MediatedJob, start_adaptation, start_job
from actors.steering import Change, Pause, Reset, Resume, Save, Step, Stop
from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.manifest import read_manifest
from anerf.checkpoint.resolve import complete_steps, resolve_checkpoint, step_folder
from anerf.errors import JobError
from anerf.field.threads import use_threads
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.render.picture import render_picture
from anerf.render.scene_model import SceneModel
from tests.diaries import events_of
from tests.ray_place import ray_of_our_own

log = logging.getLogger(__name__)
pytestmark = pytest.mark.integration

STEPS, SAVE_STEP = 200, 10
PROMPT_S = 2.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_of_our_own(namespace="anerf"):
        yield


class Place:
    """A folder of jobs that this process runs."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def start(self, content: dict[str, Any], job_id: str) -> Any:
        return start_job(parse_job({**content, "job_id": job_id}), self.out)

    def end(self, job: Any, state: JobState = JobState.SUCCEEDED, timeout_s: float = 180) -> None:
        wait_for(lambda: job.show().record.state.is_terminal, timeout_s)
        record = job.show().record
        assert record.state is state, record.message

    def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        return events_of(self.out / job_id, kind)

    def told(self, job_id: str) -> str:
        return "\n".join(event["message"] for event in self.events(job_id, "log"))

    def step_s(self, job_id: str, first: int, last: int) -> float:
        """Seconds that a step took between two steps of a training."""
        ends = {event["step"]: seconds(event["at"]) for event in self.events(job_id, "progress")}
        first, last = (min(ends, key=lambda step: abs(step - wanted)) for wanted in (first, last))
        return (ends[last] - ends[first]) / (last - first)

    def shards(self, job_id: str) -> list[str]:
        """What its last checkpoint holds, bit by bit."""
        manifest = read_manifest(resolve_checkpoint(str(self.out / job_id), "last"))
        return [record.sha256 for record in manifest.records()]


def seconds(at: str) -> float:
    """The time of an event."""
    return datetime.fromisoformat(at).timestamp()


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> float:
    """Until it is so; the seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "it does not come about"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def place(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def content(train_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A training that keeps a checkpoint of every tenth step."""
    return train_job(
        outer_steps=STEPS,
        save_step=SAVE_STEP,
        keep_checkpoints=10_000,
        rays_per_step=512,
        image_exposure=True,
    )


@pytest.fixture(scope="module")
def undisturbed(place: Place, content: dict[str, Any]) -> Path:
    place.end(place.start(content, "undisturbed"))
    return place.out / "undisturbed"


@pytest.fixture(scope="module")
def adapt(undisturbed: Path, eval_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return eval_job(undisturbed, tto=12)


def same_bits(one: SceneModel, other: SceneModel) -> bool:
    pairs = [(one.background, other.background)]
    for a, b in zip(one.models, other.models, strict=True):
        pairs += list(zip(a.params.tensors(), b.params.tensors(), strict=True))
        pairs.append((a.grid.values, b.grid.values))
    if one.exposures is not None and other.exposures is not None:
        ours, theirs = one.exposures.named(), other.exposures.named()
        pairs += [(torch.tensor(ours[name]), torch.tensor(theirs[name])) for name in ours]
    return all(torch.equal(a, b) for a, b in pairs if a is not None and b is not None)


@dataclass
class Look:
    """A set of weights as a reader saw it, and how the picture made from it looked."""

    step: int
    model: SceneModel
    seen_at: float


class Reader(threading.Thread):
    """Renders the newest scene of a job over and over, as fast as it can, up to a step."""

    def __init__(self, job_id: str, camera: Any, c2w: np.ndarray, up_to: int) -> None:
        super().__init__(daemon=True)
        self._job_id, self._camera, self._c2w, self._up_to = job_id, camera, c2w, up_to
        self.looks: list[Look] = []
        self.n_pictures = 0

    def run(self) -> None:
        use_threads(1)
        scene, mark, model = LiveScene(self._job_id), None, None
        while not self.looks or self.looks[-1].step < self._up_to:
            try:
                fresh = scene.newest(mark, wait_s=0.0 if model else 1.0)
            except (JobNotRunning, NoAnswer):
                assert model is None, "it is gone too early"
                time.sleep(0.1)
                continue
            if fresh is not None:
                mark, model = fresh.mark, fresh.model
                copies = load_copy(model)
                self.looks.append(Look(fresh.step, copies, time.time()))
            if model is not None:
                render_picture(model, self._camera, self._c2w)
                self.n_pictures += 1


def load_copy(model: SceneModel) -> SceneModel:
    """The same weights in memory of our own, so that the store may let go of its copy."""
    models = tuple(replace(m, params=m.params.detached()) for m in model.models)
    return replace(model, models=models)


def test_a_training_that_is_rendered_meanwhile_shows_whole_sets_of_its_own_bits(
    place, undisturbed, content, tiny_scene
):
    frame = tiny_scene.frames[0]
    reader = Reader("looked-at", frame.camera.scaled(0.5), frame.c2w, STEPS // 2)
    job = place.start(content, "looked-at")
    reader.start()
    place.end(job)
    reader.join(30)
    assert not reader.is_alive()

    assert place.shards("looked-at") == place.shards("undisturbed")
    steps = [look.step for look in reader.looks]
    assert steps == sorted(set(steps))
    saved = set(complete_steps(str(undisturbed / "checkpoints")))
    compared = [look for look in reader.looks if look.step in saved]
    assert len(compared) >= 3
    for look in compared:
        truth = load_scene_model(step_folder(str(undisturbed / "checkpoints"), look.step))
        assert same_bits(look.model, truth), look.step
    assert not same_bits(compared[0].model, compared[-1].model)

    first, last = steps[0], steps[-1]
    with_reader, without = place.step_s("looked-at", first, last), place.step_s("looked-at", last, STEPS)
    ends = {event["step"]: seconds(event["at"]) for event in place.events("looked-at", "progress")}
    late_s = [look.seen_at - ends[look.step] for look in reader.looks if look.step in ends]
    told = f"""
    {len(steps)} sets and {reader.n_pictures} pictures up to step {last}; a step took {with_reader:.3f} s with
    the reader and {without:.3f} s without; weights in hand {np.median(late_s):.2f} s after the end of their
    round (median), {max(late_s):.2f} s (most)"""
    log.info(told)
    assert np.median(late_s) < 2, told


def test_a_training_is_paused_stepped_saved_and_ends_with_the_same_bits(
    place, undisturbed, content, monkeypatch
):
    monkeypatch.setattr("actors.live.IDLE_S", 1.0)
    job, running = place.start(content, "steered"), RunningJob("steered")
    wait_for(lambda: learns(running))
    running.steer(Pause())
    waits = [wait_for(lambda: running.figures().state == "paused")]
    at = running.figures().step
    assert 0 < at < STEPS
    assert f"paused at step {at}" in place.told("steered")
    with pytest.raises(JobError, match="a training cannot be reset"):
        running.steer(Reset())

    scene = LiveScene("steered")
    shown = scene.newest(wait_s=5)
    assert shown is not None
    assert shown.step == at
    running.steer(Save())
    waits.append(wait_for(lambda: at in complete_steps(str(place.out / "steered" / "checkpoints"))))
    kept = load_scene_model(step_folder(str(place.out / "steered" / "checkpoints"), at))
    assert same_bits(shown.model, kept)
    held = weakref.ref(shown)
    del shown
    wait_for(lambda: held() is None)  # nobody asks any more
    assert running.figures().state == "paused"

    running.steer(Step(3))
    waits.append(wait_for(lambda: running.figures().step == at + 3))
    waits.append(wait_for(lambda: running.figures().state == "paused"))
    time.sleep(0.5)
    figures = running.figures()
    assert figures.step == at + 3
    assert figures.of_steps == STEPS
    assert sorted(figures.experts) == sorted(figures.loss_curves) == [0, 1, 2, 3]
    assert figures.curve_steps[-1] == at + 3
    assert len(figures.loss_curves[0]) == len(figures.curve_steps)
    assert job.show().record.state is JobState.RUNNING
    assert max(waits) < PROMPT_S, waits

    running.steer(Resume())
    place.end(job)
    assert "goes on at step" in place.told("steered")
    assert place.shards("steered") == place.shards("undisturbed")


def learns(running: Any) -> bool:
    return (figures := figures_of(running)) is not None and figures.step > 0


def has_started(running: Any) -> bool:
    return (figures := figures_of(running)) is not None and figures.state in ("measuring", "learning")


def figures_of(running: Any) -> Any:
    """What a job tells that may be about to start."""
    try:
        return running.figures()
    except (JobNotRunning, NoAnswer):
        return None


def test_a_paused_job_is_cancelled_and_a_running_one_stopped(place, content):
    job, running = place.start(content, "left"), RunningJob("left")
    wait_for(lambda: learns(running))
    running.steer(Pause())
    wait_for(lambda: running.figures().state == "paused")
    at = running.figures().step
    job.cancel()
    took_s = wait_for(lambda: job.show().record.state.is_terminal)
    assert job.show().record.state is JobState.CANCELLED
    assert took_s < PROMPT_S
    assert complete_steps(str(place.out / "left" / "checkpoints"))[-1] == at
    with pytest.raises(JobNotRunning, match="no job 'left' is running"):
        LiveScene("left").newest()

    job, running = place.start(content, "halted"), RunningJob("halted")
    wait_for(lambda: learns(running))
    running.steer(Stop())
    place.end(job)
    summary = json.loads((place.out / "halted" / "summary.json").read_text())
    assert 0 < summary["steps"] < STEPS
    assert summary["scores"]["psnr_db"] > 5
    assert job.show().record.message == f"stopped on request at step {summary['steps']}"
    assert complete_steps(str(place.out / "halted" / "checkpoints"))[-1] == summary["steps"]


def test_an_adaptation_is_shown_changed_and_reset(place, undisturbed, adapt):
    checkpoints = undisturbed / "checkpoints"
    growing = place.out / "growing"
    first, newer = (Path(step_folder(str(checkpoints), step)).name for step in (STEPS - SAVE_STEP, STEPS))
    shutil.copytree(checkpoints / first, growing / first)
    adapt = {**adapt, "checkpoint_path": str(growing)}
    plain = place.start(adapt, "adapted")
    place.end(plain)
    touched = json.loads((place.out / "adapted" / "summary.json").read_text())["touched_experts"]
    base = load_scene_model(str(growing), "last")

    job, running, scene = place.start(adapt, "tried"), RunningJob("tried"), LiveScene("tried")
    wait_for(lambda: has_started(running))
    running.steer(Pause())
    running.steer(Step(2))
    wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 2)
    running.steer(Change(encoding_lr=0.05))
    running.steer(Step(2))
    wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 4)
    shown = scene.newest(wait_s=5)
    assert shown is not None
    assert shown.step == 4
    assert shown.model.flights == ("survey", "after")
    moved = [
        expert
        for expert, (new, old) in enumerate(zip(shown.model.models, base.models, strict=True))
        if not torch.equal(new.params.grid, old.params.grid)
    ]
    assert moved == touched

    shutil.copytree(checkpoints / newer, growing / newer)  # the training goes on meanwhile
    running.steer(Change(encoding_lr=adapt.get("encoding_lr", 0.01)))
    running.steer(Reset())
    wait_for(lambda: "back at the checkpoint" in place.told("tried"))
    wait_for(lambda: (fresh := scene.newest(shown.mark, wait_s=5)) is not None and fresh.step == 0)
    back = scene.newest(wait_s=5)
    assert back is not None
    assert same_bits_of_fields(back.model, base)
    assert running.figures().curve_steps == ()

    running.steer(Resume())
    place.end(job)
    assert place.shards("tried") == place.shards("adapted")
    curve = json.loads((place.out / "tried" / "summary.json").read_text())["curve"]
    assert [point["tto"] for point in curve] == [0, 12]


def same_bits_of_fields(one: SceneModel, other: SceneModel) -> bool:
    return all(
        torch.equal(a, b)
        for ours, theirs in zip(one.models, other.models, strict=True)
        for a, b in zip(ours.params.tensors(), theirs.params.tensors(), strict=True)
    )


def test_the_mediator_runs_an_adaptation_that_is_given_more_steps_meanwhile(
    place, undisturbed, tiny_scene, cluster
):
    request = AdaptationRequest(
        str(undisturbed), str(tiny_scene.root), "after", steps=3, encoding_lr=0.02, downscale=1.0
    )
    mediator = start_mediator(place.out, place.out, Limits())
    try:
        ray.get(mediator.ready.remote())
        job = start_adaptation(request, place.out)
        assert isinstance(job, MediatedJob)
        assert not job.owned
        running = RunningJob(job.job_id)
        wait_for(lambda: has_started(running))
        running.steer(Pause())
        running.steer(Step(1))
        wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 1)
        shown = LiveScene(job.job_id).newest(wait_s=5)
        assert shown is not None
        assert (shown.step, shown.manifest.step) == (1, STEPS + 1)
        running.steer(Change(of_steps=5))
        running.steer(Resume())
        place.end(job)
        summary = json.loads((Path(job.show().folder) / "summary.json").read_text())
        assert [point["tto"] for point in summary["curve"]] == [0, 3, 5]
        assert "from step 1 on: of_steps 5" in place.told(job.job_id)
    finally:
        ray.kill(mediator)


def test_a_video_has_no_experts_to_look_at_and_its_diary_tells_how_far_it_is(place, undisturbed):
    size = {"width": 64, "height": 48, "ray_samples": 8, "fps": 60, "seconds": 600}
    path = {"checkpoint_path": str(undisturbed), "prefix": "last", "camera_path": "turntable"}
    job, jobs = place.start({"op": "video", **path, **size}, "film"), RayJobs(place.out)
    wait_for(lambda: jobs.news("film").step > 0)
    news = jobs.news("film")
    assert (news.op, news.state, news.of_steps) == ("video", "RUNNING", 36_000)
    with pytest.raises(JobWithoutExperts, match="job film makes a video"):
        LiveScene("film").newest(wait_s=5)
    job.cancel()
    place.end(job, JobState.CANCELLED)

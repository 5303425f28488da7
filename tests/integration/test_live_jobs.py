"""A running job, looked at and steered from another process, on a real Ray."""

import json
import logging
import math
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
from tests.stack_place import written_at

log = logging.getLogger(__name__)
pytestmark = pytest.mark.integration

STEPS, SAVE_STEP, ENDLESS = 200, 10, 10**6
PROMPT_S = 2.0


@dataclass
class Place:
    """A folder of jobs that this process runs."""

    out: Path

    def start(self, content: dict[str, Any], job_id: str) -> Any:
        return start_job(parse_job({**content, "job_id": job_id}), self.out)

    def end(self, job: Any, state: JobState = JobState.SUCCEEDED, timeout_s: float = 180) -> None:
        wait_for(lambda: job.show().record.state.is_terminal, timeout_s)
        assert (record := job.show().record).state is state, record.message

    def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        return events_of(self.out / job_id, kind)

    def told(self, job_id: str) -> str:
        return "\n".join(event["message"] for event in self.events(job_id, "log"))

    def step_s(self, job_id: str, first: int, last: int) -> float:
        """Seconds that a step took between two steps of a training."""
        ends = {event["step"]: written_at(event) for event in self.events(job_id, "progress")}
        first, last = (min(ends, key=lambda step: abs(step - wanted)) for wanted in (first, last))
        return (ends[last] - ends[first]) / (last - first) if last > first else math.nan

    def shards(self, job_id: str) -> list[str]:
        """What its last checkpoint holds, bit by bit."""
        manifest = read_manifest(resolve_checkpoint(str(self.out / job_id), "last"))
        return [record.sha256 for record in manifest.records()]


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> float:
    """Until it is so; the seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "it does not come about"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ray_of_our_own(namespace="anerf"):
        yield Place(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def content(train_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A training that keeps a checkpoint of every tenth step; processes of two experts are up sooner."""
    return train_job(
        outer_steps=STEPS, save_step=SAVE_STEP, keep_checkpoints=10_000, rays_per_step=512,
        image_exposure=True, experts_per_actor=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(place: Place, content: dict[str, Any]) -> Path:
    place.end(place.start(content, "undisturbed"))
    return place.out / "undisturbed"


@pytest.fixture(scope="module")
def adapt(undisturbed: Path, eval_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return eval_job(undisturbed, tto=12, experts_per_actor=2)


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
    """Renders a job's newest scene over and over, up to a step and until three were of kept checkpoints."""

    def __init__(self, job_id: str, camera: Any, c2w: np.ndarray, up_to: int) -> None:
        super().__init__(daemon=True)
        self._job_id, self._camera, self._c2w, self._up_to = job_id, camera, c2w, up_to
        self.looks: list[Look] = []
        self.n_pictures, self.gone_at = 0, math.inf

    def kept(self) -> list[Look]:
        return [look for look in self.looks if look.step > 0 and look.step % SAVE_STEP == 0]

    def run(self) -> None:
        use_threads(1)
        scene, mark, model = LiveScene(self._job_id), None, None
        while len(self.kept()) < 3 or self.looks[-1].step < self._up_to:
            try:
                fresh = scene.newest(mark, wait_s=0.0 if model else 1.0)
            except NoAnswer:
                continue
            except JobNotRunning:
                if model is not None:
                    self.gone_at = time.time()
                    break
                time.sleep(0.1)
                continue
            if fresh is not None:
                mark, model = fresh.mark, fresh.model
                self.looks.append(Look(fresh.step, load_copy(model), time.time()))
            if model is not None:
                render_picture(model, self._camera, self._c2w)
                self.n_pictures += 1


def load_copy(model: SceneModel) -> SceneModel:
    """The same weights in memory of our own, so that the store may let go of its copy."""
    return replace(model, models=tuple(replace(m, params=m.params.detached()) for m in model.models))


def test_a_training_that_is_rendered_meanwhile_shows_whole_sets_of_its_own_bits(
    place, undisturbed, content, tiny_scene
):
    frame = tiny_scene.frames[0]
    reader = Reader("looked-at", frame.camera.scaled(0.5), frame.c2w, STEPS // 2)
    job = place.start(content, "looked-at")
    reader.start()
    place.end(job)
    reader.join(60)
    assert not reader.is_alive()
    ends = {event["step"]: written_at(event) for event in place.events("looked-at", "progress")}
    assert reader.gone_at > ends[STEPS], "it was gone too early"

    assert place.shards("looked-at") == place.shards("undisturbed")
    steps = [look.step for look in reader.looks]
    assert steps == sorted(set(steps))
    compared = reader.kept()
    assert len(compared) >= 3
    for look in compared:
        truth = load_scene_model(step_folder(str(undisturbed / "checkpoints"), look.step))
        assert same_bits(look.model, truth), look.step
    assert not same_bits(compared[0].model, compared[-1].model)

    first, last = steps[0], steps[-1]
    with_reader, without = place.step_s("looked-at", first, last), place.step_s("looked-at", last, STEPS)
    late_s = [look.seen_at - ends[look.step] for look in reader.looks if look.step in ends]
    told = f"""
    {len(steps)} sets and {reader.n_pictures} pictures up to step {last}; a step took {with_reader:.3f} s with
    the reader and {without:.3f} s without; weights in hand {np.median(late_s):.2f} s after the end of their
    round (median), {max(late_s):.2f} s (most)"""
    log.info(told)
    assert np.median(late_s) < 2, told


def prompt_turn(place: Place, running: RunningJob, n_steps: int) -> tuple[float, float, float]:
    """How long it takes to pause it in the midst of so many steps, to save there, and to do three more."""
    began, folder = running.figures().step, str(place.out / running.job_id / "checkpoints")
    running.steer(Step(n_steps))
    wait_for(lambda: running.figures().step > began)
    running.steer(Pause())
    pause_s = wait_for(lambda: running.figures().state == "paused")
    at = running.figures().step
    assert f"paused at step {at}" in place.told(running.job_id)
    running.steer(Save())
    save_s = wait_for(lambda: at in complete_steps(folder))
    running.steer(Step(3))
    step_s = wait_for(lambda: (f := running.figures()).state == "paused" and f.step == at + 3)
    # Where all steps were done, nobody knows whether the pause came of our asking.
    return (pause_s if at < began + n_steps else math.inf), save_s, step_s


def test_a_training_is_paused_stepped_saved_and_ends_with_the_same_bits(
    place, undisturbed, content, monkeypatch
):
    monkeypatch.setattr("actors.live.IDLE_S", 1.0)
    job, running = place.start(content, "steered"), RunningJob("steered")
    checkpoints = str(place.out / "steered" / "checkpoints")
    wait_for(lambda: figures_of(running) is not None)
    running.steer(Pause())  # kept while it loads: it never gets further than we ask
    turns = [prompt_turn(place, running, n_steps=50) for _ in range(3)]
    # The middle one counts: a machine may stand still for a moment.
    assert max(np.median(turns, axis=0)) < PROMPT_S, turns
    at = running.figures().step
    with pytest.raises(JobError, match="a training cannot be reset"):
        running.steer(Reset())

    scene = LiveScene("steered")
    shown = scene.newest(wait_s=30)
    assert shown is not None
    assert shown.step == at
    running.steer(Save())
    wait_for(lambda: at in complete_steps(checkpoints))
    assert same_bits(shown.model, load_scene_model(step_folder(checkpoints, at)))
    held = weakref.ref(shown)
    del shown
    wait_for(lambda: held() is None)  # nobody asks any more

    figures = running.figures()
    assert (figures.state, figures.step, figures.of_steps) == ("paused", at, STEPS)
    assert sorted(figures.experts) == sorted(figures.loss_curves) == [0, 1, 2, 3]
    assert figures.curve_steps[-1] == at
    assert len(figures.loss_curves[0]) == len(figures.curve_steps)
    assert job.show().record.state is JobState.RUNNING

    running.steer(Resume())
    place.end(job)
    assert "goes on at step" in place.told("steered")
    assert place.shards("steered") == place.shards("undisturbed")


def learns(running: Any) -> bool:
    return (figures := figures_of(running)) is not None and figures.step > 0


def figures_of(running: Any) -> Any:
    """What a job tells that may be about to start."""
    try:
        return running.figures()
    except (JobNotRunning, NoAnswer):
        return None


def test_a_paused_job_is_cancelled_and_a_running_one_stopped(place, content):
    endless = {**content, "outer_steps": ENDLESS}
    job, running = place.start(endless, "left"), RunningJob("left")
    wait_for(lambda: learns(running))
    running.steer(Pause())
    wait_for(lambda: running.figures().state == "paused")
    at, asked = running.figures().step, time.time()
    job.cancel()
    place.end(job, JobState.CANCELLED)
    end, checkpoints = place.events("left", "state")[-1], str(place.out / "left" / "checkpoints")
    assert written_at(end) - asked < PROMPT_S
    last = max(complete_steps(checkpoints), default=0)
    if "by force" in end["message"]:  # storage took too long for the checkpoint that it had begun
        assert Path(step_folder(checkpoints, at)).is_dir()
        assert last in (at // SAVE_STEP * SAVE_STEP, at)
    else:
        assert last == at
    with pytest.raises(JobNotRunning, match="no job 'left' is running"):
        LiveScene("left").newest()

    job, running = place.start(endless, "halted"), RunningJob("halted")
    wait_for(lambda: learns(running))
    running.steer(Stop())
    place.end(job)
    summary = json.loads((place.out / "halted" / "summary.json").read_text())
    assert 0 < summary["steps"] < ENDLESS
    assert summary["scores"]["psnr_db"] > 5
    assert job.show().record.message == f"stopped on request at step {summary['steps']}"
    assert complete_steps(str(place.out / "halted" / "checkpoints"))[-1] == summary["steps"]


def test_an_adaptation_is_shown_changed_and_reset(place, undisturbed, adapt):
    checkpoints = undisturbed / "checkpoints"
    growing = place.out / "growing"
    first, newer = (Path(step_folder(str(checkpoints), step)).name for step in (STEPS - SAVE_STEP, STEPS))
    shutil.copytree(checkpoints / first, growing / first)
    adapt = {**adapt, "checkpoint_path": str(growing)}
    place.end(place.start(adapt, "adapted"))
    touched = json.loads((place.out / "adapted" / "summary.json").read_text())["touched_experts"]
    base = load_scene_model(str(growing), "last")

    job, running, scene = place.start(adapt, "tried"), RunningJob("tried"), LiveScene("tried")
    wait_for(lambda: figures_of(running) is not None)
    running.steer(Pause())
    running.steer(Step(2))
    wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 2)
    running.steer(Change(encoding_lr=0.05))
    running.steer(Step(2))
    wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 4)
    shown = scene.newest(wait_s=30)
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
    wait_for(lambda: (fresh := scene.newest(shown.mark, wait_s=30)) is not None and fresh.step == 0)
    back = scene.newest(wait_s=30)
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


def test_the_mediator_runs_an_adaptation_that_is_given_more_steps_meanwhile(place, undisturbed, tiny_scene):
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
        wait_for(lambda: figures_of(running) is not None)
        running.steer(Pause())
        running.steer(Step(1))
        wait_for(lambda: (f := running.figures()).state == "paused" and f.step == 1)
        shown = LiveScene(job.job_id).newest(wait_s=30)
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
    path = {"checkpoint_path": str(undisturbed), "prefix": "last", "camera_path": "turntable"}
    film = {"op": "video", **path, "width": 64, "height": 48, "ray_samples": 8, "fps": 60, "seconds": 600}
    job, jobs = place.start(film, "film"), RayJobs(place.out)
    wait_for(lambda: jobs.news("film").step > 0)
    news = jobs.news("film")
    assert (news.op, news.state, news.of_steps) == ("video", "RUNNING", 36_000)
    with pytest.raises(JobWithoutExperts, match="job film makes a video"):
        LiveScene("film").newest(wait_s=30)
    job.cancel()
    place.end(job, JobState.CANCELLED)

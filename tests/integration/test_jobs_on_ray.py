"""Jobs as `anerf run` does them, on a real Ray: lost experts, interrupted trainings, adaptation, refusals."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.resolve import complete_steps
from anerf.products.poses import read_poses
from anerf.render.picture import render_picture
from anerf.scene.scene import Scene
from tests.run_place import Place, cluster, ended, reached, wait_for

pytestmark = pytest.mark.integration

STEPS, SAVE_STEP = 240, 20  # some seconds, in which a test that stalls still finds its job at work


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with cluster(tmp_path_factory.mktemp("jobs"), {}) as here:
        yield here


@pytest.fixture(scope="module")
def content(train_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A training of 4 experts that takes some seconds."""
    return train_job(outer_steps=STEPS, save_step=SAVE_STEP, rays_per_step=512)


@pytest.fixture(scope="module")
def paired(content: dict[str, Any]) -> dict[str, Any]:
    """The same training in two processes, which starts sooner than in four."""
    return {**content, "experts_per_actor": 2}


@pytest.fixture(scope="module")
def trained(place: Place, content: dict[str, Any]) -> Path:
    """The folder of a training that ran through."""
    place.run(content, "through")
    return place.out / "through"


@pytest.fixture(scope="module")
def adapted(place: Place, trained: Path, eval_job: Callable[..., dict[str, Any]]) -> Path:
    """The folder of an adaptation of that to the flight `after`, by 2 and 4 steps."""
    place.run(eval_job(trained), "adapt")
    return place.out / "adapt"


def test_a_training_leaves_what_it_promises(place, trained):
    assert place.states("through") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    steps = [event["step"] for event in place.events("through", "checkpoint")]
    assert steps == list(range(SAVE_STEP, STEPS + 1, SAVE_STEP))
    assert complete_steps(str(trained / "checkpoints"))[-1] == STEPS
    losses = [event["loss"] for event in place.events("through", "progress")]
    assert losses[-1] < 0.8 * losses[0]
    summary, model = json.loads((trained / "summary.json").read_text()), load_scene_model(str(trained))
    assert (summary["job_id"], summary["steps"]) == ("through", STEPS)
    assert (model.experts, model.flights) == (("0", "1", "2", "3"), ("survey",))


def test_a_training_interrupted_half_way_ends_with_the_same_bits(place, trained, paired):
    process = place.start(paired, "halves")
    wait_for(lambda: reached(place, "halves", 2 * SAVE_STEP + 1), process)
    process.send_signal(signal.SIGINT)
    ended(process, status=3)
    stopped = place.manifest("halves")
    assert 2 * SAVE_STEP < stopped.step < STEPS
    place.run(paired, "halves")
    assert place.states("halves")[-3:] == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert any(f"step {stopped.step}" in event["message"] for event in place.events("halves", "log"))
    through, halves = place.manifest("through"), place.manifest("halves")
    assert (through.step, halves.step) == (STEPS, STEPS)
    assert [record.sha256 for record in halves.records()] == [record.sha256 for record in through.records()]
    assert stopped.shards[0].sha256 != halves.shards[0].sha256


def test_a_killed_expert_costs_steps_and_not_the_job(place, content):
    process = place.start(content, "bereaved")
    wait_for(lambda: reached(place, "bereaved", SAVE_STEP + SAVE_STEP // 2), process)  # steps will be lost
    experts = place.experts()
    assert len(experts) == 4
    os.kill(experts[1], signal.SIGKILL)
    ended(process)
    assert place.states("bereaved") == ["QUEUED", "RUNNING", "SUCCEEDED"]
    (lost,), (restored,) = (place.events("bereaved", f"expert_{what}") for what in ("lost", "restored"))
    assert lost["expert"] == restored["expert"]
    assert lost["step"] - SAVE_STEP <= restored["step"] <= lost["step"] < STEPS
    assert restored["step"] % SAVE_STEP == 0
    assert sorted(place.manifest("bereaved").shards) == [0, 1, 2, 3]
    assert place.manifest("bereaved").step == STEPS
    steps = [event["step"] for event in place.events("bereaved", "progress")]
    assert steps == sorted(set(steps))
    wait_for(lambda: place.experts() == [], timeout_s=30)


def test_a_killed_coordinator_is_started_again_under_its_name(place, paired):
    process = place.start(paired, "headless")
    wait_for(lambda: reached(place, "headless", SAVE_STEP + 1), process)
    os.kill(*place.processes("ray::MetaCoordinator"), signal.SIGKILL)
    ended(process)
    assert place.states("headless") == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"]
    assert place.manifest("headless").step == STEPS


def test_a_job_that_is_at_work_from_another_folder_is_left_alone(place, content, tmp_path):
    other = Place(tmp_path, place.run_dir, place.environment, metrics_port=0)
    together = {**content, "experts_per_actor": 4}
    short = {**together, "outer_steps": SAVE_STEP}
    process = place.start({**together, "outer_steps": 100_000}, "twice")
    wait_for(lambda: reached(place, "twice", 1), process)
    coordinators = place.processes("ray::MetaCoordinator")
    refused = " ".join(other.run(short, "twice", status=1).split())
    assert "run-twice is at work in this Ray already, started from another folder" in refused
    assert other.states("twice") == ["QUEUED", "RUNNING", "FAILED"], "it was tried more than once"
    assert place.processes("ray::MetaCoordinator") == coordinators
    process.send_signal(signal.SIGINT)
    ended(process, status=3)
    assert place.states("twice") == ["QUEUED", "RUNNING", "CANCELLED"]
    other.run(short, "twice")
    assert other.states("twice")[-1] == "SUCCEEDED"


def test_a_job_whose_folder_is_removed_ends_with_a_sentence(place, content):
    process = place.start({**content, "experts_per_actor": 4, "outer_steps": 100_000}, "removed")
    wait_for(lambda: reached(place, "removed", 1), process)
    # All at once: a job writes into a folder that is being emptied.
    shutil.rmtree((place.out / "removed").rename(place.root / "rubbish"))
    shown = ended(process, status=2)
    assert f"{place.out / 'removed'}, was removed while it ran" in shown
    assert "Traceback" not in shown


def test_experts_learn_the_same_all_in_one_process(place, trained, content):
    process = place.start({**content, "experts_per_actor": 4}, "together")
    wait_for(lambda: reached(place, "together", 1), process)
    assert len(place.experts()) == 1
    ended(process)
    alone, together = place.manifest("through"), place.manifest("together")
    assert [r.sha256 for r in together.records()] == [r.sha256 for r in alone.records()]


def test_a_killed_process_costs_its_own_experts_steps_and_no_bit(place, trained, paired):
    process = place.start(paired, "halved")
    wait_for(lambda: reached(place, "halved", SAVE_STEP + SAVE_STEP // 2), process)
    first, _ = place.experts()
    os.kill(first, signal.SIGKILL)
    ended(process)
    lost = sorted(event["expert"] for event in place.events("halved", "expert_lost"))
    assert lost in ([0, 1], [2, 3])
    restored = place.events("halved", "expert_restored")
    assert sorted(event["expert"] for event in restored) == lost
    assert all(event["step"] % SAVE_STEP == 0 for event in restored)
    through, halved = place.manifest("through"), place.manifest("halved")
    assert [r.sha256 for r in halved.records()] == [r.sha256 for r in through.records()]


def go_on(place: Place, job_id: str) -> bool:
    """Whether the others have left someone behind."""
    return place.events(job_id, "log")[-1]["message"].endswith("go on without them")


def make_late(place: Place, job_id: str, process: subprocess.Popen[str], straggler: int) -> None:
    """Stop a process of experts, so that the others go on without it."""
    for _ in range(4):
        n = len(place.events(job_id, "progress"))
        wait_for(lambda n=n: len(place.events(job_id, "progress")) > n, process)
        os.kill(straggler, signal.SIGSTOP)
        with suppress(AssertionError):
            return wait_for(lambda: go_on(place, job_id), process, timeout_s=15)
        # Not in its steps, but where the experts agree on something, and there all wait for all.
        os.kill(straggler, signal.SIGCONT)
    pytest.fail("the others do not go on without it")


def test_a_straggler_does_not_stall_the_others_and_catches_up(place, trained, content):
    # Only the last step needs them all, and they seldom meet.
    process = place.start({**content, "save_step": STEPS, "sync_step": 20}, "straggling")
    wait_for(lambda: reached(place, "straggling", 1), process)
    straggler = place.experts()[2]
    try:
        make_late(place, "straggling", process, straggler)
        wait_for(lambda: reached(place, "straggling", STEPS), process)
        assert go_on(place, "straggling")
        assert not place.events("straggling", "checkpoint")
    finally:
        os.kill(straggler, signal.SIGCONT)
    ended(process)
    assert any("are back" in event["message"] for event in place.events("straggling", "log"))
    assert not place.events("straggling", "expert_lost")
    through, straggling = place.manifest("through"), place.manifest("straggling")
    assert (straggling.step, sorted(straggling.shards)) == (STEPS, [0, 1, 2, 3])
    assert straggling.metrics["psnr_db"] == pytest.approx(through.metrics["psnr_db"], abs=0.1)


def of_one_round(place: Place, name: str, of_each: float) -> float | None:
    """What is told of all experts together, if that of each adds up to it, as it does not in mid-telling."""
    series = place.metrics(f"ray_anerf_{name}", job="metered")
    by_expert = {re.findall(r'expert="(\w+)"', labels)[0]: value for labels, value in series.items()}
    together, is_whole = by_expert.get("all"), sorted(by_expert) == ["0", "1", "2", "3", "all"]
    of_experts = of_each * sum(value for expert, value in by_expert.items() if expert != "all")
    return together if is_whole and of_experts == pytest.approx(together) else None


def test_prometheus_reads_how_a_training_goes(place, paired):
    process = place.start({**paired, "outer_steps": 100_000, "eval_step": 40, "save_step": 40}, "metered")

    def read(name: str, **labels: str) -> float:
        (value,) = wait_for(lambda: place.metrics(f"ray_anerf_{name}", **labels), process).values()
        return value

    psnr_db, step = read("psnr_db", job="metered", role="old"), read("step", job="metered")
    loss = wait_for(lambda: of_one_round(place, "loss", 0.25), process, timeout_s=30)
    rays_per_s = wait_for(lambda: of_one_round(place, "rays_per_second", 1), process, timeout_s=30)
    wait_for(lambda: place.metrics("ray_anerf_checkpoint_commit_seconds_count"), process)
    process.send_signal(signal.SIGINT)
    ended(process, status=3)
    told = place.events("metered", "progress")
    assert psnr_db in {event["psnr"] for event in place.events("metered", "metrics")}
    assert int(step) in {event["step"] for event in told}
    for name, value in (("loss", loss), ("rays_per_s", rays_per_s)):
        assert any(value == pytest.approx(event[name], rel=1e-3) for event in told)
    of_commits = "ray_anerf_checkpoint_commit_seconds"
    commits, seconds = (wait_for(lambda n=n: place.metrics(f"{of_commits}_{n}")) for n in ("count", "sum"))
    assert 0 < sum(seconds.values()) < 10 * sum(commits.values())


def test_an_adaptation_is_measured_on_views_that_it_never_saw(adapted, tiny_scene: Scene):
    summary = json.loads((adapted / "summary.json").read_text())
    new = [frame.file for frame in tiny_scene.frames if frame.split == "after"]
    assert sorted(summary["adapted_on"] + summary["measured_on"]) == sorted(new)
    assert not set(summary["adapted_on"]) & set(summary["measured_on"])
    assert summary["measured_on"] == sorted(new)[1::3]
    assert [point["tto"] for point in summary["curve"]] == [0, 2, 4]
    old = [frame.file for frame in tiny_scene.frames if frame.split == "val"]
    assert summary["old_views"] == old

    rows = pq.read_table(adapted / "metrics.parquet").to_pylist()
    views = [file.removeprefix("images/") for file in (*summary["measured_on"], *old)]
    assert sorted((row["tto"], row["view"]) for row in rows) == sorted(
        (t, v) for t in (0, 2, 4) for v in views
    )
    assert all(np.isfinite(row["psnr_db"]) and row["psnr_db"] > 5 for row in rows)
    for file in summary["measured_on"]:
        with (
            Image.open(tiny_scene.root / file) as photograph,
            Image.open(adapted / "rendered" / "gt" / "after" / f"{Path(file).stem}.png") as truth,
        ):
            assert np.array_equal(np.asarray(photograph), np.asarray(truth))
        pictures = [
            adapted / "rendered" / f"pred_tto{tto}" / "after" / f"{Path(file).stem}.png" for tto in (0, 2, 4)
        ]
        shown = [np.asarray(Image.open(path)).astype(int) for path in pictures]
        assert shown[0].shape == (72, 96, 3)
        assert np.abs(shown[0] - shown[2]).mean() > 0.1


def test_an_adaptation_shows_how_far_off_it_is_and_how_it_got_there(adapted):
    summary = json.loads((adapted / "summary.json").read_text())
    rows = pq.read_table(adapted / "metrics.parquet").to_pylist()
    of_new = [row for row in rows if row["role"] == "new"]
    assert len(of_new) == 3 * len(summary["measured_on"])
    for row in rows:
        # The flight sees surfaces 30 to 260 m away.
        assert 0 < row["depth_median_m"] < 260
        assert row["psnr_unchanged_db"] > 5
    for point in summary["curve"]:
        medians = [row["depth_median_m"] for row in of_new if row["tto"] == point["tto"]]
        assert point["new"]["depth_median_m"] == pytest.approx(np.mean(medians))
        inside = [row["depth_changed_median_m"] for row in of_new if row["tto"] == point["tto"]]
        known = [depth for depth in inside if depth is not None]
        assert point["new"]["depth_changed_median_m"] == pytest.approx(np.mean(known))
    with (adapted / "curve.csv").open(newline="") as file:
        curve = list(csv.DictReader(file))
    assert [(row["tto"], row["role"]) for row in curve] == [(t, r) for t in "024" for r in ("new", "old")]
    for row, point in zip(curve[::2], summary["curve"], strict=True):
        assert float(row["adapt_s"]) == point["adapt_s"]
        assert float(row["psnr_db"]) == pytest.approx(point["new"]["psnr_db"])
    assert "new views" in (adapted / "curve.svg").read_text()
    with Image.open(adapted / "sheet.png") as sheet:
        assert sheet.width == 2 * 16 + 6 * 328 - 8
    (board,) = (adapted / "tb").iterdir()
    assert b"new/depth_changed_median_m" in board.read_bytes()


def test_an_adaptation_may_be_given_seconds(place, trained, eval_job):
    # Seconds apart: a round that stalls may come past two goals at once.
    job = eval_job(trained, tto_seconds="0.5,3.5", save_adapted=False, experts_per_actor=4)
    del job["tto"]
    place.run(job, "seconds")
    curve = json.loads((place.out / "seconds" / "summary.json").read_text())["curve"]
    assert all(point["adapt_s"] >= least for point, least in zip(curve, (0, 0.5, 3.5), strict=True))
    steps = [point["tto"] for point in curve]
    assert steps == sorted(set(steps))
    assert not (place.out / "seconds" / "checkpoints").exists()


def test_an_adaptation_keeps_to_its_checkpoint_while_a_training_saves_others(place, trained, eval_job):
    first, newer = (trained / "checkpoints" / f"step{n:07d}" for n in (STEPS - SAVE_STEP, STEPS))
    growing = place.root / "growing"
    shutil.copytree(first, growing / first.name)
    newer_too = Path(shutil.copytree(newer, place.root / newer.name))
    job = eval_job(growing, tto=200)
    place.run(job, "calm")
    process = place.start(job, "overtaken")
    wait_for(lambda: reached(place, "overtaken", 1), process)
    newer_too.rename(growing / newer.name)
    os.kill(place.experts()[0], signal.SIGKILL)
    ended(process)
    assert len(place.events("overtaken", "expert_lost")) == 1
    calm, overtaken = place.manifest("calm"), place.manifest("overtaken")
    assert [record.sha256 for record in overtaken.records()] == [record.sha256 for record in calm.records()]


def test_poses_are_refined_where_a_job_asks_for_it(place, trained, adapted, eval_job, tiny_scene: Scene):
    table = tiny_scene.root / "frames.parquet"
    given = table.read_bytes()
    changes = {"refine_poses": True, "save_adapted": False, "experts_per_actor": 4}
    place.run(eval_job(trained, tto=2, **changes), "posed")
    poses = read_poses(place.out / "posed")
    summary = json.loads((place.out / "posed" / "summary.json").read_text())
    assert sorted(poses) == sorted(summary["adapted_on"])
    assert all(c.cost_after <= c.cost_before for c in poses.values())
    assert any(c.metres > 0 for c in poses.values())
    (event,) = place.events("posed", "poses")
    assert {name: event[name] for name in summary["poses"]} == summary["poses"]
    assert summary["poses"]["n_views"] == len(poses)
    before, after = summary["curve"]
    plain = json.loads((adapted / "summary.json").read_text())["curve"]
    assert before["new"] == pytest.approx(plain[0]["new"]), "what is measured keeps its poses"
    assert after["new"] != plain[1]["new"]
    assert table.read_bytes() == given


def test_an_adapted_checkpoint_knows_both_flights(place, trained, adapted, tiny_scene: Scene):
    before, after = place.manifest("through"), place.manifest("adapt")
    touched = json.loads((adapted / "summary.json").read_text())["touched_experts"]
    assert after.step == STEPS + 4
    changed = [e for e in sorted(after.shards) if after.shards[e].sha256 != before.shards[e].sha256]
    assert changed == touched
    model, base = (load_scene_model(str(folder)) for folder in (adapted, trained))
    assert model.flights == ("survey", "after")
    assert model.background is not None
    assert base.background is not None
    assert torch.equal(model.background, base.background)
    frame = tiny_scene.frames[-1]
    seen = render_picture(model, frame.camera.scaled(0.25), frame.c2w, flight="after")
    assert seen.rgb.shape == (18, 24, 3)
    assert seen.opacity.mean() > 0.3


def failure(place: Place, content: dict[str, Any], job_id: str) -> str:
    """The one sentence with which a job fails."""
    shown = place.run(content, job_id, status=1)
    assert "Traceback" not in shown
    assert place.states(job_id) == ["QUEUED", "RUNNING", "FAILED"]
    message = place.events(job_id, "state")[-1]["message"]
    assert shown.strip().endswith(f"job {job_id} failed: {message}")
    assert "\n" not in message
    assert not (place.out / job_id / "summary.json").exists()
    assert complete_steps(str(place.out / job_id / "checkpoints")) == []
    return message


def test_a_truncated_shard_is_named(place, trained, eval_job):
    damaged = place.root / "damaged"
    shutil.copytree(trained / "checkpoints", damaged)
    shard = damaged / f"step{STEPS:07d}" / "experts" / "2.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    message = failure(place, eval_job(damaged), "truncated")
    assert "experts/2.safetensors" in message
    assert f"has {len(whole) - 100} bytes where its manifest says {len(whole)}" in message
    assert "use another step, or train again" in message


def test_a_missing_scene_is_named(place, content):
    message = failure(place, {**content, "scene": "no/where"}, "sceneless")
    assert str(place.root / "no" / "where") in message
    assert "anerf prepare" in message


def test_an_unknown_partition_is_named_beside_those_that_exist(place, content):
    message = failure(place, {**content, "mask_dirname": "g33"}, "unparted")
    assert "no partition g33 (there is g22)" in message

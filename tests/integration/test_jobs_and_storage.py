"""Jobs whose disk is full, and whose checkpoints lie in S3: they wait, go on, and end with the same bits."""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.checkpoint.resolve import complete_steps
from anerf.checkpoint.storage import join
from anerf.jobs.places import find_checkpoint
from tests.run_place import Place, cluster, ended, wait_for
from tests.storage_places import S3, S3_KEYS, s3_store, small_disk

pytestmark = pytest.mark.integration

STEPS, SAVE_STEP = 100, 20
ROOM_BYTES = 64 * 1024  # for events, not for shards
KEEPING = {"keep_checkpoints": 5}  # all: one that is removed would make room on a disk just filled up


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch, s3_store() as store:
        for name, value in S3_KEYS.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Place]:
    with cluster(tmp_path_factory.mktemp("jobs"), S3_KEYS) as here:
        yield here


@pytest.fixture(scope="module")
def content(train_job: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return train_job(
        outer_steps=STEPS, save_step=SAVE_STEP, rays_per_step=512, experts_per_actor=2, keep_checkpoints=1
    )


@pytest.fixture(scope="module")
def undisturbed(place: Place, content: dict[str, Any]) -> list[str]:
    """What the shards of a training hash to that nothing happened to."""
    place.run(content, "undisturbed")
    return hashes(place, "undisturbed")


def hashes(place: Place, job_id: str) -> list[str]:
    manifest = place.manifest(job_id)
    assert manifest.step == STEPS
    return [record.sha256 for record in manifest.records()]


def logged(place: Place, job_id: str, start: str) -> list[str]:
    return [e["message"] for e in place.events(job_id, "log") if e["message"].startswith(start)]


def test_a_training_on_a_full_disk_waits_and_ends_with_the_same_bits(place, content, undisturbed):
    with small_disk(place.out / "full") as disk:
        process = place.start(content | KEEPING, "full")
        wait_for(lambda: place.events("full", "checkpoint"), process)
        disk.fill(ROOM_BYTES)
        wait_for(lambda: logged(place, "full", "waiting for storage"), process)
        before = complete_steps(str(disk.root / "checkpoints"))
        time.sleep(1.5)  # it tries again after one second, and then after two more
        assert process.poll() is None
        assert complete_steps(str(disk.root / "checkpoints")) == before
        wait_for(lambda: not list(disk.root.rglob("*.part")), process, timeout_s=30)  # of an attempt just now
        disk.make_room()
        ended(process)
        assert place.states("full") == ["QUEUED", "RUNNING", "SUCCEEDED"]
        (told,) = logged(place, "full", "waiting for storage")
        assert "make room there" in told
        assert len(logged(place, "full", "storage is back")) == 1
        assert hashes(place, "full") == undisturbed


def test_a_training_that_waits_for_a_disk_is_cancelled_within_two_seconds(place, content):
    with small_disk(place.out / "given-up") as disk:
        process = place.start(content | KEEPING, "given-up")
        wait_for(lambda: place.events("given-up", "checkpoint"), process)
        disk.fill(ROOM_BYTES)
        wait_for(lambda: logged(place, "given-up", "waiting for storage"), process)
        asked = time.time()
        process.send_signal(signal.SIGINT)
        ended(process, status=3)
        end = place.events("given-up", "state")[-1]
        assert end["state"] == "CANCELLED"
        assert datetime.fromisoformat(end["at"]).timestamp() - asked < 2
        assert complete_steps(str(disk.root / "checkpoints"))


def test_a_training_in_s3_outlives_kills_and_silence_and_is_adapted(
    place, content, undisturbed, s3, eval_job, tiny_scene
):
    job = {**content, "checkpoint_root": s3.uri}
    checkpoints = join(s3.uri, "remote")
    process = place.start(job, "remote")
    wait_for(lambda: place.events("remote", "checkpoint"), process)
    process.kill()
    process.communicate()
    wait_for(lambda: not place.processes("ray::MetaCoordinator"))  # it may save once more before it goes
    saved = complete_steps(checkpoints)[-1]
    assert saved % SAVE_STEP == 0

    process = place.start(job, "remote")
    wait_for(lambda: logged(place, "remote", f"4 experts ready at step {saved}"), process)
    s3.freeze()  # before its last save
    try:
        wait_for(lambda: logged(place, "remote", "waiting for storage"), process)
    finally:
        s3.thaw()
    ended(process)
    assert logged(place, "remote", f"goes on from {checkpoints[:20]}")
    assert logged(place, "remote", "storage is back")
    assert not (place.out / "remote" / "checkpoints").exists()
    assert hashes(place, "remote") == undisturbed

    adapt = eval_job(Path("logs/remote"), tto=2, checkpoint_root=s3.uri, experts_per_actor=4)
    place.run(adapt, "adapted")
    assert place.manifest("adapted").step == STEPS + 2
    place.run({**adapt, "checkpoint_path": checkpoints, "checkpoint_root": None}, "home-again")
    assert (place.out / "home-again" / "checkpoints").exists()
    assert load_scene_model(find_checkpoint(join(s3.uri, "adapted"), "last")).flights == ("survey", "after")


def test_no_key_comes_near_the_jobs_files(place, content, s3):
    keyed = s3.uri.replace("s3://", f"s3://{':'.join(S3_KEYS.values())}@")
    shown = place.run({**content, "checkpoint_root": keyed}, "keyed", status=2)
    assert "leave it out" in shown
    texts = [shown, *(p.read_text(errors="replace") for p in place.out.rglob("*.*") if p.is_file())]
    assert not any("hush-hush" in text for text in texts)

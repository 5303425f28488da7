"""A job waits for storage: told once, with growing pauses, and cancelled at once."""

import errno
import re
import threading
import time
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2

from actors import patience
from actors.patience import PatientDiary
from actors.scheduler import MachineFailure
from anerf.errors import JobCancelled, StorageUnavailable
from anerf.jobs.events import JobLog
from anerf.jobs.faults import STORAGE_PAUSE_S
from anerf.jobs.states import JobState
from anerf.products.board import Board
from tests.actors.scheduler_bench import Bench
from tests.storage_places import small_disk


@pytest.fixture
def diary(tmp_path, monkeypatch) -> JobLog:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    return JobLog(tmp_path)


def told(diary: JobLog) -> list[str]:
    return [event["message"] for event in diary.read()[0] if event["kind"] == "log"]


def test_work_is_done_again_until_storage_takes_it(diary):
    failures = [StorageUnavailable("no room"), OSError(errno.EIO, "broken"), StorageUnavailable("no room")]

    def work() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert PatientDiary(diary, lambda: False).insist(work) == "done"
    waiting, back = told(diary)
    assert waiting == "waiting for storage: no room"
    assert re.fullmatch(r"storage is back after \d+ s: no room", back)


def test_what_is_no_outage_is_not_waited_for(diary):
    def work() -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        PatientDiary(diary, lambda: False).insist(work)
    assert not diary.path.exists()


def test_whoever_waits_is_cancelled_at_once(diary, monkeypatch):
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 60.0)
    cancelled = threading.Event()

    def work() -> None:
        threading.Timer(0.2, cancelled.set).start()
        raise StorageUnavailable("no room")

    began = time.monotonic()
    with pytest.raises(JobCancelled, match=r"while storage was out.*: no room"):
        PatientDiary(diary, cancelled.is_set).insist(work)
    assert time.monotonic() - began < 30


def test_events_and_figures_survive_a_disk_without_a_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    with small_disk(tmp_path / "job", mebibytes=1) as disk:
        diary, board = JobLog(disk.root), Board(disk.root / "tb")
        asked = 0

        def makes_room() -> bool:
            """Whoever waits asks whether it is cancelled: so there is room only after a wait."""
            nonlocal asked
            asked += 1
            if asked == 3:
                disk.make_room()
            return False

        patient = PatientDiary(diary, makes_room)
        patient.append("progress", step=0)
        board.add_scalar("loss", 0.0, 0)
        disk.fill()
        for step in range(1, 40):  # more than the rest of a block holds
            board.add_scalar("loss", float(step), step)
        for step in range(1, 60):
            patient.append("progress", step=step)
        board.add_scalar("loss", 40.0, 40)
        board.close()
        steps = [event["step"] for event in diary.read()[0] if event["kind"] == "progress"]
        assert steps == list(range(60))
        assert told(diary)[-1].startswith("storage is back after")
        assert shown_steps(disk.root / "tb") == set(range(41))


def shown_steps(folder: Path) -> set[int]:
    """The steps of all whole records in the event files of a folder."""
    steps = set()
    for file in folder.iterdir():
        data = file.read_bytes()
        while len(data) >= 16 and len(data) >= 16 + (size := int.from_bytes(data[:8], "little")):
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            steps |= {event.step} if event.HasField("summary") else set()
    return steps


def test_an_outage_counts_as_no_failure_of_the_job(tmp_path):
    errors = [StorageUnavailable("no room"), StorageUnavailable("no room"), MachineFailure("lost"), None]

    def work(job_id, stop):
        if error := errors.pop(0):
            raise error

    bench = Bench(tmp_path, work)
    bench.submit("a", max_attempts=2)
    for _ in range(3):
        bench.tick_until("a", JobState.RUNNING)
        bench.tick_until("a", JobState.QUEUED)
        bench.clock.now += STORAGE_PAUSE_S
    bench.tick_until("a", JobState.SUCCEEDED)
    messages = [e["message"] for e in bench.table.accepted("a").log.read()[0] if e.get("fault") == "machine"]
    assert messages[:2] == ["waiting for storage, next try in 10 s: no room"] * 2
    assert messages[2].startswith("attempt 1 of 2 failed")

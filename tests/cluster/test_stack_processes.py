"""Processes that carry a stack's mark are found and ended, and no others; its file tells what is up."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from anerf.errors import StackError
from cluster.down import take_down
from cluster.processes import Process, free_port, listens, members, start, stop, tail
from cluster.stack import STACK_FILE, Stack, alone, living_stack, read_stack

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True);"
    " time.sleep(60)"
)
PARENT = (
    f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); time.sleep(60)"
)


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_is_found_by_its_mark_and_ended_by_a_request(tmp_path):
    log = tmp_path / "log"
    child = start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, log, {})
    wait_for(lambda: members(tmp_path, [child]) == [child])
    assert child.is_alive()
    assert stop(tmp_path, [child], grace_s=10) == 0
    assert members(tmp_path, [child]) == []


def test_grandchildren_that_ignore_the_request_are_ended_by_force(tmp_path):
    log = tmp_path / "log"
    child = start([sys.executable, "-c", PARENT], tmp_path, log, {})
    wait_for(lambda: "up" in log.read_text())
    assert len(members(tmp_path, [child])) == 2
    assert stop(tmp_path, [child], grace_s=3) == 1
    assert members(tmp_path, [child]) == []


def test_one_that_has_lost_its_environment_is_known_by_its_session_and_its_files(tmp_path):
    blank = f"import os, sys; os.execve(sys.executable, [sys.executable, '-c', {STUBBORN!r}], {{}})"
    log = tmp_path / "log"
    child = start([sys.executable, "-c", blank], tmp_path, log, {})
    wait_for(lambda: "up" in log.read_text())
    assert members(tmp_path, []) == []
    assert members(tmp_path, [child]) == [child]
    assert stop(tmp_path, [child], grace_s=0.2) == 1


def test_a_reader_of_the_stacks_files_is_none_of_it(tmp_path):
    (tmp_path / "log").write_text("")
    with (tmp_path / "log").open() as log:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        with subprocess.Popen(command, stdin=log) as reader:
            assert stop(tmp_path, [Process(reader.pid, 1)], grace_s=0.1) == 0
            assert reader.poll() is None
            reader.kill()


def test_a_process_without_the_mark_is_never_touched(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        fields = open(f"/proc/{other.pid}/stat").read().rpartition(")")[2].split()  # noqa: PTH123, SIM115
        assert stop(tmp_path, [Process(other.pid, int(fields[19]))], grace_s=0.1) == 0
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


def test_a_reused_process_id_is_somebody_else():
    assert not Process(os.getpid(), started_ticks=1).is_alive()


def test_a_port_that_is_taken_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert listens(taken)
        assert free_port(taken) > taken
        with pytest.raises(StackError, match="no free port"):
            free_port(taken, tries=1)


def test_the_end_of_a_log_is_told(tmp_path):
    (tmp_path / "log").write_text("a\nb\nc\nd\n")
    assert tail(tmp_path / "log") == "b | c | d"
    assert "nothing" in tail(tmp_path / "nothing")


def stack(tmp_path, **fields):
    run_dir = tmp_path / "run"
    run_dir.mkdir(exist_ok=True)
    return Stack(out=str(tmp_path), run_dir=str(run_dir), cwd="/", **fields)


def test_the_stacks_file_comes_back_as_it_was(tmp_path):
    kept = stack(tmp_path, ray_address="127.0.0.1:6379", ray=Process(5, 7), broker_port=9092, complete=True)
    kept.save()
    assert read_stack(tmp_path) == kept
    assert (tmp_path / STACK_FILE).stat().st_mode & 0o077 == 0
    assert kept.ports == {"Kafka": 9092, "Ray": 6379}
    assert not kept.is_alive()
    with pytest.raises(StackError, match="is not alive any more: start it again"):
        living_stack(tmp_path)


def test_a_stale_file_is_cleared_up(tmp_path):
    stale = stack(tmp_path, ray_address="127.0.0.1:1", ray=Process(os.getpid(), 1), complete=True)
    stale.save()
    assert take_down(stale) == 0
    assert read_stack(tmp_path) is None
    assert not (tmp_path / "run").exists()


def test_a_stack_whose_port_another_program_has_now_is_cleared_up_too(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.down._PORTS_CLOSE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        fields = {"ray_address": "127.0.0.1:1", "dashboard_port": other.getsockname()[1]}
        stale = stack(tmp_path, ray=Process(os.getpid(), 1), complete=True, **fields)
        stale.save()
        with pytest.raises(StackError, match="another program took the port"):
            take_down(stale)
    assert read_stack(tmp_path) is None
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "text"), [("{", "is not JSON"), ("[]", "of another version"), ("{}", "of another")]
)
def test_a_strange_file_is_refused(tmp_path, content, text):
    (tmp_path / STACK_FILE).write_text(content)
    with pytest.raises(StackError, match=text):
        read_stack(tmp_path)


def test_a_file_of_another_version_is_refused(tmp_path):
    stack(tmp_path).save()
    content = json.loads((tmp_path / STACK_FILE).read_text())
    (tmp_path / STACK_FILE).write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(StackError, match="of another version"):
        read_stack(tmp_path)


def test_a_lock_keeps_a_second_one_out(tmp_path):
    with (
        alone(tmp_path / "lock", "busy"),
        pytest.raises(StackError, match="busy"),
        alone(tmp_path / "lock", "busy"),
    ):
        pass
    with alone(tmp_path / "lock", "busy"):
        pass

"""The command line: quick to start, clear when it refuses, and honest in its exit status."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anerf.errors import JobError, StackError
from anerf.jobs.folder import accept_job, read_accepted_job
from anerf.jobs.spec import parse_job
from cluster.cli import COMMANDS
from cluster.run import run
from cluster.send import send
from cluster.show import duration

ANERF = Path(sys.executable).with_name("anerf")


def anerf(*arguments, cwd=None):
    return subprocess.run([ANERF, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def write(path, **job):
    path.write_text(json.dumps({"op": "train", "scene": "nowhere", "job_id": "a", **job}))
    return path


def test_help_comes_at_once_and_lists_every_command():
    fastest = float("inf")
    for _ in range(3):
        started = time.monotonic()
        shown = anerf("--help")
        fastest = min(fastest, time.monotonic() - started)
    assert shown.returncode == 0
    assert all(f"anerf {name}" in shown.stdout for name in COMMANDS)
    assert fastest < 1.0


@pytest.mark.parametrize(
    "name", ["run", "up", "down", "status", "send", "jobs list", "jobs watch", "jobs logs"]
)
def test_a_command_explains_itself_without_loading_ray(name):
    code = (
        "import sys, cluster.cli; sys.argv = ['anerf', *sys.argv[1:]]\n"
        "try: cluster.cli.main()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *name.split(), "--help"], capture_output=True, check=True
    )
    assert b"--out" in done.stdout


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_is_where_the_list_says(command):
    assert callable(getattr(importlib.import_module(command.module), command.function))


def test_an_unknown_command_is_named_with_the_nearest():
    done = anerf("stats")
    assert done.returncode == 2
    assert "did you mean `anerf status`?" in done.stderr


@pytest.mark.parametrize("arguments", [("status",), ("jobs", "list"), ("jobs", "show", "a")])
def test_without_a_stack_it_says_how_to_start_one(arguments, tmp_path):
    done = anerf(*arguments, "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"no stack is up for {tmp_path}: start one with `anerf up --out")


def test_down_without_a_stack_is_harmless(tmp_path):
    assert anerf("down", "--out", str(tmp_path)).returncode == 0


def test_a_job_file_that_is_missing_or_wrong_is_one_sentence(tmp_path):
    done = anerf("run", "no.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "cannot read job file no.json (No such file or directory): give the path of a JSON file"
    ]
    bad = write(tmp_path / "bad.json", downscal=1)
    done = anerf("run", str(bad), cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean `downscale`?" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_other_settings_under_a_known_id_are_refused(tmp_path):
    out = tmp_path / "logs"
    accept_job(parse_job(write(tmp_path / "a.json", scene="/s").read_bytes()), out, "run")
    with pytest.raises(JobError, match="holds a job with other settings"):
        run(write(tmp_path / "b.json", scene="/s", ray_samples=97), out=out)


def test_a_job_that_has_succeeded_is_not_run_again(tmp_path, capsys):
    out = tmp_path / "logs"
    job_file = write(tmp_path / "a.json", scene="/s")
    log = accept_job(parse_job(job_file.read_bytes()), out, "run").log
    log.append("state", state="RUNNING", attempt=1)
    log.append("state", state="SUCCEEDED")
    run(job_file, out=out)
    assert "Job a has succeeded already" in capsys.readouterr().out


def test_a_job_that_the_mediator_looks_after_is_left_to_it(tmp_path):
    out = tmp_path / "logs"
    job_file = write(tmp_path / "a.json", scene="/s")
    accept_job(parse_job(job_file.read_bytes()), out, "kafka")
    with pytest.raises(JobError, match="came through Kafka and is QUEUED"):
        run(job_file, out=out)
    assert read_accepted_job(out / "a").origin == "kafka"


def test_a_broker_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.send._DELIVERY_TIMEOUT_S", 0.5)
    with pytest.raises(StackError, match=r"the broker at 127\.0\.0\.1:1 did not take the job"):
        send(write(tmp_path / "a.json"), bootstrap_servers="127.0.0.1:1")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text

"""Folders in the output folder that belong to somebody else, and are closed to the endpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serve_apps.conftest import save_tiny_checkpoint

PROGRAM = """
import json, sys
from pathlib import Path
from serve_apps.catalog import checkpoint_entries, scene_entry
from serve_apps.source import NotFoundError, all_checkpoints, find_source

out = Path(sys.argv[1])
found = all_checkpoints(out)

def problem_of(named):
    try:
        find_source(out, named, "last")
    except NotFoundError as error:
        return str(error)

print(json.dumps({
    "scenes": [scene_entry(job).model_dump() for job in found],
    "checkpoints": [entry.checkpoint for job in found for entry in checkpoint_entries(job)],
    "problems": {job.name: problem_of(job.name) for job in out.iterdir()},
}))
"""
# The administrator may enter everything, unless that right is given up.
AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def told(out: Path) -> dict[str, Any]:
    program = [*AS_ANYBODY, sys.executable, "-c", PROGRAM, str(out)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("closed", "is_listed"),
    [
        ("", False),
        ("checkpoints", True),
        ("checkpoints/step0000100", True),
        ("checkpoints/step0000100/manifest.json", True),
    ],
    ids=["job", "checkpoints", "step", "manifest"],
)
def test_a_closed_folder_hides_no_other_job(out_root: Path, closed: str, is_listed: bool) -> None:
    place = save_tiny_checkpoint(out_root / "theirs", 100).parent.parent / closed
    place.chmod(0)
    try:
        seen = told(out_root)
    finally:
        place.chmod(0o700)
    scenes = {entry["checkpoint"]: entry for entry in seen["scenes"]}
    assert scenes["demo"]["steps"] == [100, 200]
    assert seen["checkpoints"].count("demo") == 2
    assert ("theirs" in scenes) == is_listed
    assert not is_listed or "check the path and its rights" in scenes["theirs"]["problem"]
    assert seen["problems"]["demo"] is None


def test_a_closed_job_is_no_checkpoint(out_root: Path) -> None:
    job = out_root / "theirs" / "job.json"
    job.parent.mkdir()
    job.touch(0)
    assert told(out_root)["problems"] == {
        "demo": None,
        "theirs": f"{job} is closed to the endpoint: give it the right to read it.",
    }

"""Whatever a message says, a job's files lie in its own folder below the output root."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.mediator import Delivery, take_in
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable

PARTS = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "a",
        "A-1",
        "\0",
        "\n",
        "~",
        "$HOME",
        "%2e%2e",
        "s3://",
        "file:///",
        "．．",
        "‥",
        " ",
        "",
    ]
)
PATHS = st.lists(PARTS, max_size=6).map("".join) | st.text(max_size=20)
FIELDS = (
    "scene",
    "data_path",
    "data_dirname",
    "dataset",
    "mask_dirname",
    "checkpoint_path",
    "checkpoint_root",
    "before_checkpoint_path",
    "camera_path",
    "flight",
    "batch",
    "prefix",
)


def files_below(root: Path) -> set[Path]:
    return set(root.rglob("*"))


@settings(max_examples=150)
@given(
    PATHS,
    st.dictionaries(st.sampled_from(FIELDS), PATHS, max_size=4),
    st.sampled_from(["train", "eval", "view", "video"]),
)
def test_nothing_is_written_outside_the_jobs_folder(job_id, fields, op):
    message = {"op": op, "scene": "s", "checkpoint_path": "c", "job_id": job_id, **fields}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "deep" / "out"
        out.mkdir(parents=True)
        (answer,) = take_in(JobTable(out), [Delivery(json.dumps(message).encode(), "m")], out, 10)
        written = files_below(Path(place)) - {out.parent, out}
        if answer.state is JobState.REJECTED:
            assert not written
        else:
            folder = out / job_id
            assert folder.parent == out
            assert folder.resolve().parent == out.resolve()
            assert written == {folder, folder / "job.json", folder / "events.jsonl"}

"""docs/jobs.md tells every field of every job, with the default that it really has."""

import json
import re
from pathlib import Path

import pytest

from anerf.jobs.spec import EvalJob, TrainJob, VideoJob, ViewJob

DOCUMENT = Path(__file__).parents[2] / "docs" / "jobs.md"
SECTIONS_OF = {
    TrainJob: ("Every job", "Sharing the cluster", "Training and adapting", "Training"),
    EvalJob: ("Every job", "Sharing the cluster", "Training and adapting", "Adapting"),
    ViewJob: ("Every job", "Viewing"),
    VideoJob: ("Every job", "Sharing the cluster", "Videos"),
}
ROW = re.compile(r"\| `(?P<field>\w+)` \| (?P<default>[^|]+) \| (?P<meaning>[^|]+) \|")


def documented(section):
    """The rows of a section's table: the default's text by field."""
    parts = re.split(r"^#+ (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = parts[parts.index(section) + 1]
    return {row["field"]: row["default"].strip() for row in map(ROW.match, text.splitlines()) if row}


def default_of(model, field):
    """A field's default as its JSON would have it, or None where there is none."""
    info = model.model_fields[field]
    if info.is_required():
        return None
    return json.loads(json.dumps(info.get_default()))


@pytest.mark.parametrize("model", SECTIONS_OF, ids=lambda model: model.__name__)
def test_every_field_is_documented_with_its_default(model):
    rows = {}
    for section in SECTIONS_OF[model]:
        rows |= documented(section)
    assert set(rows) == set(model.model_fields)
    # `op` is required only where leaving it out would mean training.
    told = {f: None if text == "–" else json.loads(text.strip("`")) for f, text in rows.items() if f != "op"}
    assert told == {field: default_of(model, field) for field in told}

"""What jobs' folders tell, for tests that watch jobs."""

import json
from pathlib import Path
from typing import Any


def events_of(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The events in a job's folder so far; none where the job is still on its way there."""
    try:
        text = (folder / "events.jsonl").read_text()
    except FileNotFoundError:
        return []
    events = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [event for event in events if kind in (None, event["kind"])]

"""JSON Schema (draft 2020-12) of what we tell: events, status messages, dead letters."""

from typing import Any

from anerf.jobs.headers import TRACE_HEADER, VERSION_HEADER
from anerf.jobs.schema import DIALECT, Schema
from anerf.jobs.states import JobState
from anerf.jobs.topics import MESSAGE_VERSION

TRACE_PATTERN = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$"

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MEASURE = {"type": ["number", "null"]}
_TIME = {"type": "string", "format": "date-time", "description": "ISO 8601, UTC."}
_STATE = {"enum": [state.value for state in JobState if state is not JobState.REJECTED]}
_TRACE = {
    "type": "string",
    "pattern": TRACE_PATTERN,
    "description": "W3C Trace Context of the message that brought the job.",
}
_KINDS: dict[str, dict[str, Any]] = {
    "accepted": {"op": _TEXT, "origin": _TEXT, "fingerprint": _TEXT},
    "state": {"state": _STATE, "message": _TEXT},
    "progress": {"step": _COUNT, "of_steps": _COUNT},
    "checkpoint": {"step": _COUNT, "uri": _TEXT},
    "expert_lost": {"expert": _COUNT, "step": _COUNT, "message": _TEXT},
    "expert_restored": {"expert": _COUNT, "step": _COUNT, "message": _TEXT},
    "expired": {"n_removed": _COUNT},
    "log": {"message": _TEXT},
}
"""What every event of a kind has at least; other kinds and other fields may come."""

_EVENT_EXAMPLE = {
    "at": "2026-01-31T12:00:00.123Z",
    "job_id": "block-1",
    "kind": "state",
    "state": "RUNNING",
    "message": "",
    "attempt": 1,
}
_STATUS_EXAMPLE = {
    "version": MESSAGE_VERSION,
    "job_id": "block-1",
    "op": "train",
    "origin": "kafka",
    "accepted_at": "2026-01-31T11:59:58.001Z",
    "folder": "/work/logs/block-1",
    "waiting_for": "",
    "traceparent": None,
    "state": "RUNNING",
    "step": 0,
    "of_steps": 0,
    "loss": None,
    "psnr": None,
    "rays_per_s": None,
    "eta_s": None,
    "message": "",
    "attempt": 1,
    "failures": 0,
    "saved_step": 0,
    "updated_at": "2026-01-31T12:00:00.123Z",
    "expired": False,
    "priority": 0,
    "event": _EVENT_EXAMPLE,
}
DEAD_LETTER_EXAMPLE = {
    "reason": "the job message has a problem: `downscal` is not a known field, did you mean `downscale`?",
    "topic": "nerfConfigs",
    "partition": "0",
    "offset": "41",
}


def event_schema() -> Schema:
    """Of a line of `events.jsonl`, and of `event` in a status message."""
    return {
        "$schema": DIALECT,
        "title": "anerf event",
        "description": "A line of a job's diary. Skip kinds that you do not know.",
        "type": "object",
        "required": ["at", "job_id", "kind"],
        "properties": {"at": _TIME, "job_id": _TEXT, "kind": _TEXT},
        "allOf": [
            {
                "if": {"required": ["kind"], "properties": {"kind": {"const": kind}}},
                "then": {"required": list(fields), "properties": fields},
            }
            for kind, fields in _KINDS.items()
        ],
        "examples": [_EVENT_EXAMPLE],
    }


def status_schema() -> Schema:
    """Of the value of a message on the status topic."""
    event = {k: v for k, v in event_schema().items() if k not in ("$schema", "examples")}
    properties: dict[str, Any] = {
        "version": {"const": MESSAGE_VERSION},
        "job_id": _TEXT,
        "op": {"enum": ["train", "eval", "view", "video"]},
        "origin": {"type": "string", "description": "Who brought the job, such as `kafka` or `run`."},
        "accepted_at": _TIME,
        "folder": _TEXT,
        "waiting_for": {"type": "string", "description": "Why a queued job is not running yet."},
        "state": _STATE,
        "step": _COUNT,
        "of_steps": _COUNT,
        "loss": _MEASURE,
        "psnr": _MEASURE,
        "rays_per_s": _MEASURE,
        "eta_s": _MEASURE,
        "message": {"type": "string", "description": "Of the last state."},
        "attempt": _COUNT,
        "failures": {**_COUNT, "description": "Runs in a row that ended early and got nowhere."},
        "saved_step": {**_COUNT, "description": "Step of the last checkpoint."},
        "updated_at": _TEXT,
        "expired": {"type": "boolean", "description": "Whether the job's results were removed."},
        "priority": {"type": "integer"},
        "event": event,
    }
    return {
        "$schema": DIALECT,
        "title": "anerf status",
        "description": "Where a job stands, and the event that brought it there. Readers skip what they do "
        "not know; a number that is not finite is told as null.",
        "type": "object",
        "required": list(properties),
        "properties": {**properties, "traceparent": {"anyOf": [_TRACE, {"type": "null"}]}},
        "examples": [_STATUS_EXAMPLE],
    }


def header_schema() -> Schema:
    """Of the headers of job and status messages, as texts."""
    return {
        "type": "object",
        "properties": {
            VERSION_HEADER: {
                "type": "string",
                "pattern": "^[0-9]{1,9}$",
                "description": f"Version of the message's format, {MESSAGE_VERSION} where it is missing.",
            },
            TRACE_HEADER: _TRACE,
        },
    }


def dead_letter_schema() -> Schema:
    """Of the headers of a message on the dead-letter topic, as texts; its key and value are as they came."""
    origin = {"type": "string", "pattern": "^-?[0-9]+$"}
    return {
        "$schema": DIALECT,
        "title": "anerf dead letter",
        "description": "Headers of a message that is no job. The message's own headers come first, and where "
        "a name comes twice the last counts; key and value are the bytes as they came.",
        "type": "object",
        "required": ["reason", "topic", "partition", "offset"],
        "properties": {
            "reason": {"type": "string", "description": "The sentence that a user would have read."},
            "topic": {"type": "string", "description": "Where the message was, with partition and offset."},
            "partition": origin,
            "offset": origin,
            "cut-from-bytes": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "Only where the broker would not take the whole value again: its size, of "
                "which this letter has the beginning.",
            },
        },
        "examples": [DEAD_LETTER_EXAMPLE],
    }

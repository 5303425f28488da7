"""The three topics as an AsyncAPI 3.0 document."""

from typing import Any

from anerf.jobs.headers import TRACE_HEADER, VERSION_HEADER
from anerf.jobs.news_schema import (
    DEAD_LETTER_EXAMPLE,
    dead_letter_schema,
    event_schema,
    header_schema,
    status_schema,
)
from anerf.jobs.schema import Schema, job_models, job_schema
from anerf.jobs.topics import DEAD_LETTER_TOPIC, JOB_TOPIC, MESSAGE_VERSION, STATUS_TOPIC

_SCHEMAS = "#/components/schemas/"
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_HEADERS_EXAMPLE = {VERSION_HEADER: str(MESSAGE_VERSION), TRACE_HEADER: _TRACE}


def asyncapi_document() -> dict[str, Any]:
    """What the application reads (jobs) and writes (status messages, dead letters)."""
    job, status = job_schema(), status_schema()
    status["properties"]["event"] = {"$ref": f"{_SCHEMAS}Event"}
    schemas = {
        **job_models(ref=_SCHEMAS + "{model}"),
        "Job": {
            "title": job["title"],
            "description": job["description"],
            "oneOf": [{"$ref": _SCHEMAS + name} for name in job_models()],
        },
        "Event": event_schema(),
        "Status": status,
        "JobHeaders": header_schema(),
        "DeadLetterHeaders": dead_letter_schema(),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "anerf jobs",
            "version": f"{MESSAGE_VERSION}.0.0",
            "description": "Jobs in, news of them out. A message is processed at least once and takes effect "
            "once: the same job_id with the same content answers with the job's state, with other content it "
            "is a dead letter.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            JOB_TOPIC: _channel(JOB_TOPIC, "job", "Jobs to do.", "delete"),
            STATUS_TOPIC: _channel(
                STATUS_TOPIC, "status", "How jobs fare; the last of each stays.", "compact"
            ),
            DEAD_LETTER_TOPIC: _channel(
                DEAD_LETTER_TOPIC, "deadLetter", "What is no job, and why.", "delete"
            ),
        },
        "operations": {
            "receiveJob": _operation("receive", JOB_TOPIC, "job"),
            "sendStatus": _operation("send", STATUS_TOPIC, "status"),
            "sendDeadLetter": _operation("send", DEAD_LETTER_TOPIC, "deadLetter"),
        },
        "components": {
            "messages": {
                "job": _message(
                    "The job as it would stand in a file; headers and key may be left out.",
                    "The job's id.",
                    "Job",
                    "JobHeaders",
                    [{"headers": _HEADERS_EXAMPLE, "payload": example} for example in job["examples"]],
                ),
                "status": _message(
                    "Where a job stands, and the event that brought it there. It may come more than once.",
                    "The job's id.",
                    "Status",
                    "JobHeaders",
                    [{"headers": _HEADERS_EXAMPLE, "payload": example} for example in status["examples"]],
                ),
                "deadLetter": {
                    **_message(
                        "A refused message: key, value and headers as they came, ours after them.",
                        "The refused message's own key.",
                        None,
                        "DeadLetterHeaders",
                        [{"headers": DEAD_LETTER_EXAMPLE, "payload": '{"op": "train", "downscal": 0.5}'}],
                    ),
                    "contentType": "application/octet-stream",
                },
            },
            "schemas": {name: _embedded(schema) for name, schema in schemas.items()},
        },
    }


def _channel(topic: str, message: str, description: str, cleanup: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": topic,
                "topicConfiguration": {"cleanup.policy": [cleanup]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, topic: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"#/channels/{topic}/messages/{message}"}],
    }


def _message(
    summary: str, key: str, payload: str | None, headers: str, examples: list[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "headers": {"$ref": _SCHEMAS + headers},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
        "examples": examples,
    }
    # Any bytes at all: a payload schema would promise more.
    return found if payload is None else {**found, "payload": {"$ref": _SCHEMAS + payload}}


def _embedded(schema: Schema) -> Schema:
    """Without the dialect: AsyncAPI has its own, and what is used here means the same in both."""
    return {name: value for name, value in schema.items() if name != "$schema"}

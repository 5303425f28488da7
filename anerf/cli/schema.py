"""`anerf schema`: the contract of jobs, for programs."""

import json
import sys
from typing import Literal

from anerf.jobs.asyncapi import asyncapi_document
from anerf.jobs.news_schema import dead_letter_schema, event_schema, status_schema
from anerf.jobs.schema import job_schema

_SCHEMAS = {
    "job": job_schema,
    "event": event_schema,
    "status": status_schema,
    "dead-letter": dead_letter_schema,
}


def schema(*, of: Literal["job", "event", "status", "dead-letter"] = "job", asyncapi: bool = False) -> None:
    """Print the JSON Schema of job messages, or of what is told about jobs.

    Args:
        of: What to describe: a job, a line of `events.jsonl`, a status message, a dead letter's headers.
        asyncapi: Print an AsyncAPI 3.0 document of the three topics instead.
    """
    document = asyncapi_document() if asyncapi else _SCHEMAS[of]()
    sys.stdout.write(json.dumps(document, indent=1) + "\n")

"""Names under which the long-lived actors are found, and topics under which messages travel."""

from anerf.jobs.topics import DEAD_LETTER_TOPIC, JOB_TOPIC, STATUS_TOPIC

__all__ = [
    "CONSUMER_GROUP",
    "DEAD_LETTER_TOPIC",
    "EXPERT_PREFIX",
    "INGESTOR",
    "JOB_PREFIX",
    "JOB_TOPIC",
    "MEDIATOR",
    "NAMESPACE",
    "PRELOADED",
    "RUN_PREFIX",
    "STATUS_TOPIC",
]

NAMESPACE = "anerf"
MEDIATOR = "mediator"
INGESTOR = "ingestor"
JOB_PREFIX = "job-"
"""Followed by the job id: the actor that runs a job for the Mediator."""
EXPERT_PREFIX = "expert-"
"""Followed by the job id and a number: the actor of experts that outlive the actor that runs their job."""
RUN_PREFIX = "run-"
"""Followed by the job id: the actor that runs a job for `anerf run`."""

CONSUMER_GROUP = "anerf"

PRELOADED = ("actors.coordinator", "actors.expert", "actors.evaluation")
"""Modules that the processes of a job import."""

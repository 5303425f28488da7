"""Names under which the long-lived actors are found, and topics under which messages travel."""

NAMESPACE = "anerf"
MEDIATOR = "mediator"
INGESTOR = "ingestor"
JOB_PREFIX = "job-"
"""Followed by the job id: the actor that runs a job for the Mediator."""
RUN_PREFIX = "run-"
"""Followed by the job id: the actor that runs a job for `anerf run`."""

JOB_TOPIC = "nerfConfigs"
STATUS_TOPIC = "nerfStatus"
DEAD_LETTER_TOPIC = "nerfConfigs.dlq"
CONSUMER_GROUP = "anerf"

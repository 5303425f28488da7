"""Topics on which jobs, news of them and what is no job travel, and the version of what they say."""

JOB_TOPIC = "nerfConfigs"
STATUS_TOPIC = "nerfStatus"
DEAD_LETTER_TOPIC = "nerfConfigs.dlq"

MESSAGE_VERSION = 1
"""Of the messages on all three topics: raised when a reader of the older one would misread the newer."""

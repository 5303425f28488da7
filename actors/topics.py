"""Settings and topics on a Kafka broker."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from actors.names import DEAD_LETTER_TOPIC, JOB_TOPIC, STATUS_TOPIC

logger = logging.getLogger("kafka")

_TIMEOUT_S = 30.0


def quiet_settings(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which librdkafka logs through us and reconnects at a humane pace."""
    return {"logger": logger, "reconnect.backoff.max.ms": 2000, "log.connection.close": False, **kafka}


def ensure_topics(kafka: Mapping[str, Any]) -> None:
    """Create the topics that are not there yet: jobs, status (compacted) and dead letters.

    Raises:
        KafkaException: the broker cannot be reached or refuses.
    """
    admin = AdminClient(quiet_settings(kafka))
    there = admin.list_topics(timeout=_TIMEOUT_S).topics
    wanted = {JOB_TOPIC: {}, STATUS_TOPIC: {"cleanup.policy": "compact"}, DEAD_LETTER_TOPIC: {}}
    new = [
        NewTopic(name, num_partitions=1, config=config)
        for name, config in wanted.items()
        if name not in there
    ]
    if not new:
        return
    for created in admin.create_topics(new, operation_timeout=_TIMEOUT_S).values():
        try:
            created.result()
        except KafkaException as error:
            # Another ingestor was faster.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

"""News of jobs, from the Mediator to the status topic."""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, cast

import ray
from confluent_kafka import Producer
from ray.exceptions import RayActorError

from actors.mediator import News
from actors.names import STATUS_TOPIC
from actors.topics import quiet_settings
from anerf.jobs.events import Event, finite
from anerf.jobs.headers import message_headers
from anerf.jobs.table import JobSummary
from anerf.jobs.topics import MESSAGE_VERSION

logger = logging.getLogger(__name__)

_PERIOD_S = 0.5
_DELIVERY_TIMEOUT_S = 30.0
_MEDIATOR_RETRY_S = 1.0


def report(kafka: Mapping[str, Any], mediator: Any) -> None:
    """Publish what happens to jobs, keyed by job id, so that a compacted topic keeps the last of each."""
    producer = Producer({**quiet_settings(kafka), "linger.ms": 50})
    feed, after = "", 0
    while True:
        try:
            news = cast(News, ray.get(mediator.news.remote(feed, after)))
        except RayActorError:
            time.sleep(_MEDIATOR_RETRY_S)
            continue
        for summary, event in news.items:
            tell(producer, summary, event)
        # Go on only from what the broker has; what it has not is told again.
        if producer.flush(_DELIVERY_TIMEOUT_S) == 0:
            feed, after = news.feed, news.next
        else:
            logger.warning("the broker does not take the news of jobs: trying again")
            producer.purge()
            producer.flush(0)
        time.sleep(_PERIOD_S)


def tell(producer: Producer, summary: JobSummary, event: Event) -> None:
    """Publish one event."""
    producer.produce(
        STATUS_TOPIC,
        key=summary.job_id,
        value=json.dumps(status_message(summary, event), allow_nan=False),
        headers=cast(Any, message_headers(summary.traceparent)),
    )
    producer.poll(0)


def status_message(summary: JobSummary, event: Event) -> dict[str, Any]:
    """What the status topic says: where the job stands, and the event that brought it there."""
    return finite({"version": MESSAGE_VERSION, **summary.to_json(), "event": event})

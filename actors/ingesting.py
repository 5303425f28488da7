"""Between Kafka and the Mediator: job messages in (`actors.inbox`), news of jobs out (`actors.reporting`).

Kafka is the inbox, not the work queue: no job ever runs here.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import ray
from confluent_kafka import KafkaException
from ray.exceptions import RayActorError

from actors.inbox import Inbox, InboxStatus
from actors.mediator import Delivery
from actors.reporting import report
from actors.topics import ensure_topics
from anerf.jobs.table import SubmitResult

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class Ingest:
    """Reads job messages, hands them to the Mediator, and tells the status topic how jobs fare.

    Both go on in threads of their own, until an error from which they cannot recover ends one.
    """

    def __init__(self, kafka: Mapping[str, Any], mediator: Any) -> None:
        """Start with librdkafka's settings, `bootstrap.servers` at least, and the Mediator's handle."""
        self._kafka = dict(kafka)
        self._mediator = mediator
        self._inbox: Inbox | None = None
        for work in (self._ingest, self._report):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def status(self) -> InboxStatus:
        """Whether messages are being read, and how many were."""
        return self._inbox.status() if self._inbox is not None else InboxStatus()

    def _ingest(self) -> None:
        self._topics_are_there()
        self._inbox = Inbox(self._kafka, _MediatorsDesk(self._mediator), self._mend)
        while True:
            self._inbox.step()

    def _report(self) -> None:
        self._topics_are_there()
        report(self._kafka, self._mediator)

    def _topics_are_there(self) -> None:
        """Wait for the broker, however long: the actor may have been started again while it is away."""
        while not self._mend():
            time.sleep(_RETRY_S)

    def _mend(self) -> bool:
        try:
            ensure_topics(self._kafka)
        except KafkaException as error:
            logger.warning("the topics cannot be made sure of, trying again: %s", error)
            return False
        return True


class _MediatorsDesk:
    """The Mediator behind a call that is not waited for."""

    def __init__(self, mediator: Any) -> None:
        self._mediator = mediator
        self._deliveries: Sequence[Delivery] = ()
        self._call: Any = None
        self._again_at = 0.0

    def send(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries
        self._call = self._mediator.submit_many.remote(deliveries)

    def answers(self) -> Sequence[SubmitResult] | None:
        if self._call is None:
            if time.monotonic() >= self._again_at:
                self.send(self._deliveries)
            return None
        if not ray.wait([self._call], timeout=0)[0]:
            return None
        call, self._call = self._call, None
        try:
            return cast(Sequence[SubmitResult], ray.get(call))
        except RayActorError as error:
            logger.warning("the Mediator does not answer, trying again: %s", error)
            self._again_at = time.monotonic() + _RETRY_S
            return None

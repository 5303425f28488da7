"""The ingestor: one detached actor that reads Kafka, see `actors.ingesting`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

from actors import lifeline
from actors.names import INGESTOR, MEDIATOR, NAMESPACE
from anerf import logs

if TYPE_CHECKING:
    from actors.inbox import InboxStatus


class KafkaIngestor:
    """The shell around `Ingest`.

    Ray ships an actor's class by value, with all that its methods name, and the classes of confluent-kafka
    cannot be shipped: so it is imported where it is used.
    """

    def __init__(self, kafka: dict[str, Any]) -> None:
        """Connect with librdkafka's settings, `bootstrap.servers` at least."""
        logs.configure()
        lifeline.die_with_any_thread()
        from actors.ingesting import Ingest

        self._ingest = Ingest(kafka, ray.get_actor(MEDIATOR, namespace=NAMESPACE))

    def status(self) -> "InboxStatus":
        """Whether messages are being read, and how many were."""
        return self._ingest.status()


def start_ingestor(kafka: Mapping[str, Any]) -> Any:
    """The ingestor of this cluster, started if it is not there yet."""
    actor: Any = ray.remote(KafkaIngestor)
    return actor.options(
        name=INGESTOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=2,
    ).remote(dict(kafka))

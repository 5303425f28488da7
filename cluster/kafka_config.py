"""How to reach a Kafka: librdkafka's properties, from a file, the environment and the command line.

Values may be secrets. They go from here to the clients and nowhere else: no log, no error and no file of ours
holds one.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anerf.errors import InputError, StackError

SERVERS = "bootstrap.servers"
PREFIX = "ANERF_KAFKA_"
"""Environment variables: ANERF_KAFKA_SASL_PASSWORD is `sasl.password`."""

_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_-]+)*")
_OURS = (
    *("enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"),
    *("partition.assignment.strategy", "group.protocol"),
)
_TIMEOUT_S = 10.0
_LISTEN_S = 2.0
"""librdkafka itself goes on asking after a refusal, which is told meanwhile."""


def read_kafka_settings(
    file: Path | None, bootstrap_servers: str | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """The settings of Kafka clients.

    Args:
        file: `key=value` lines; empty lines and such that start with # are skipped. It goes before the
            environment.
        bootstrap_servers: Goes before both.
        environment: Variables that start with `ANERF_KAFKA_`; the rest is the key, with _ for each dot.

    Raises:
        InputError: the file cannot be read, a line is not `key=value`, or a key is not for users to set.
    """
    found = {
        name.removeprefix(PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    if file is not None:
        found |= _read(file)
    if bootstrap_servers is not None:
        found[SERVERS] = bootstrap_servers
    for key in _OURS:
        if key in found:
            raise InputError(f"the Kafka property {key} is the ingestor's own affair: leave it out")
    return found


@contextmanager
def refusals(kafka: Mapping[str, str]) -> Iterator[None]:
    """Turn librdkafka's refusal of a property inside the block into a sentence.

    Raises:
        InputError: a property is unknown or its value cannot be.
    """
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        text = error.args[0].str()
        for key, value in kafka.items():
            if (
                key != SERVERS
                and len(value) > 3
                and any(w in key for w in ("password", "secret", "pem", "key"))
            ):
                text = text.replace(value, "…")
        raise InputError(
            f"the Kafka settings are refused ({text}): mend the --kafka-config file or the {PREFIX}… "
            "variable, the properties are those of librdkafka's CONFIGURATION.md"
        ) from None


def check_broker(kafka: Mapping[str, str]) -> None:
    """See that a broker answers and lets us in.

    Raises:
        InputError: a setting is wrong.
        StackError: it does not.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    from actors.topics import quiet_settings

    told: list[str] = []

    def tell(error: KafkaError) -> None:
        told.append(error.str())

    with refusals(kafka):
        settings: dict[str, Any] = {**quiet_settings(kafka), "log_level": 0, "error_cb": tell}
        admin = AdminClient(settings)
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            admin.list_topics(timeout=min(_LISTEN_S, _TIMEOUT_S))
        except KafkaException as error:
            admin.poll(0)
            refused = next((text for text in told if "SASL" in text or "SSL" in text), None)
            if refused is None and time.monotonic() < deadline:
                continue
            raise StackError(
                f"the broker at {kafka[SERVERS]} does not let us in ({refused or error.args[0].str()}): see "
                "that it is up, and its TLS and SASL settings (--kafka-config)"
            ) from error
        else:
            return


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(
            f"cannot read the Kafka settings {file} ({reason}): give a file of key=value lines"
        ) from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            # The line itself is not shown: it may be a secret.
            raise InputError(f"line {number} of {file} is not key=value: write one property a line")
        if key in found:
            raise InputError(f"line {number} of {file} gives {key} a second time: keep one of the two")
        found[key] = value.strip()
    return found

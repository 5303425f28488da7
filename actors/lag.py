"""How far a consumer is behind its topic, from the statistics that librdkafka gives of itself."""

import json
from collections.abc import Collection, Mapping
from typing import Any

_NOT_ASKED: Mapping[int, int] = {}


def lag_of(
    statistics: str, topic: str, partitions: Collection[int], ends: Mapping[int, int] = _NOT_ASKED
) -> int | None:
    """Messages of a topic's partitions that have not been dealt with yet.

    Args:
        statistics: What `stats_cb` is given, JSON as in librdkafka's STATISTICS.md.
        topic: The topic.
        partitions: Those that are read here.
        ends: The offsets at which partitions end, as far as the broker was asked. Statistics know an end from
            the last fetch alone, and while reading is paused nothing is fetched.

    Returns:
        Their number; None where it is not known of any partition.
    """
    told: Mapping[str, Any] = json.loads(statistics).get("topics", {}).get(topic, {}).get("partitions", {})
    found = [_of_one(told[str(number)], ends.get(number, -1)) for number in partitions if str(number) in told]
    known = [lag for lag in found if lag is not None]
    return sum(known) if known else None


def _of_one(partition: Mapping[str, int], asked_end: int) -> int | None:
    """What is negative there is not known: offsets before the first fetch, or before the first commit.

    librdkafka's own `consumer_lag` is not known either until something was committed, and there a topic that
    nobody takes from would seem to have no lag.
    """
    end = max(partition["hi_offset"], asked_end)
    if end < 0:
        return None
    # Offsets are stored when a message has been dealt with, and committed a little later.
    done = max(partition["stored_offset"], partition["committed_offset"])
    return max(0, end - (done if done >= 0 else max(0, partition["lo_offset"])))

"""How far behind its topic a consumer is, by librdkafka's statistics."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.lag import lag_of

UNKNOWN = -1001
offsets = st.integers(0, 10**12) | st.just(UNKNOWN)


def statistics(*partitions, topic="jobs"):
    """Of (first, end, stored, committed) of partitions, and of the one that librdkafka keeps for itself."""
    names = ("lo_offset", "hi_offset", "stored_offset", "committed_offset")
    told = {str(n): dict(zip(names, offsets, strict=True)) for n, offsets in enumerate(partitions)}
    told["-1"] = dict.fromkeys(names, UNKNOWN)
    return json.dumps({"name": "rdkafka#consumer-1", "topics": {topic: {"partitions": told}}})


@pytest.mark.parametrize(
    ("partition", "lag"),
    [
        ((0, 10, 7, 5), 3),  # three have not been dealt with, five not committed
        ((0, 10, UNKNOWN, 5), 5),  # just assigned: somebody has committed before
        ((4, 10, UNKNOWN, UNKNOWN), 6),  # a new group begins with what is there
        ((UNKNOWN, 10, UNKNOWN, UNKNOWN), 10),
        ((0, UNKNOWN, 7, 7), None),  # nothing was fetched yet
        ((0, 6, 7, 7), 0),  # a broker that tells an end too early
        ((0, 0, UNKNOWN, UNKNOWN), 0),
    ],
)
def test_of_one_partition(partition, lag):
    assert lag_of(statistics(partition), "jobs", {0}) == lag


def test_partitions_that_are_read_here_count_and_no_others():
    told = statistics((0, 10, 7, 7), (0, 100, 1, 1), (0, UNKNOWN, UNKNOWN, UNKNOWN))
    assert lag_of(told, "jobs", {0, 2}) == 3
    assert lag_of(told, "jobs", {0, 1, 2, 9}) == 102
    assert lag_of(told, "jobs", ()) is None
    assert lag_of(told, "others", {0}) is None
    assert lag_of("{}", "jobs", {0}) is None


def test_the_broker_is_believed_where_nothing_is_fetched():
    told = statistics((0, 10, 7, 7), (0, UNKNOWN, UNKNOWN, 4), (0, 30, 30, 30))
    assert lag_of(told, "jobs", {0, 1, 2}) == 3
    assert lag_of(told, "jobs", {0, 1, 2}, {0: 12, 1: 9}) == 5 + 5
    assert lag_of(told, "jobs", {2}, {2: 29}) == 0  # it has been fetched further since


@given(st.lists(st.tuples(offsets, offsets, offsets, offsets), max_size=5))
def test_it_is_never_negative_nor_more_than_there_is(partitions):
    lag = lag_of(statistics(*partitions), "jobs", range(len(partitions)))
    ends = [end for _, end, _, _ in partitions if end >= 0]
    assert (lag is None) == (not ends)
    assert lag is None or 0 <= lag <= sum(ends)

"""When a round goes on without those who are far behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.fan_out import LATE_AFTER_S, LATE_FACTOR, is_late

seconds = st.floats(0, 1e4)


@pytest.mark.parametrize(
    ("n_answered", "n_groups", "enough"),
    [
        (19, 20, True),  # 95 %
        (18, 20, False),
        (3, 4, True),  # all but one
        (2, 4, False),
        (1, 2, True),
        (949, 1000, False),
        (950, 1000, True),
    ],
)
def test_nearly_all_must_have_answered(n_answered, n_groups, enough):
    assert is_late([1.0] * n_answered, n_groups, elapsed_s=1e6) == enough


@pytest.mark.parametrize(
    ("took_s", "elapsed_s", "late"),
    [
        ((1.0, 1.0, 1.0), 4.9, False),  # five seconds are always given
        ((1.0, 1.0, 1.0), 5.1, True),
        ((2.0, 4.0, 100.0), 11.9, False),  # three times the median, 4 s
        ((2.0, 4.0, 100.0), 12.1, True),
    ],
)
def test_they_have_three_times_as_long_as_the_others_took(took_s, elapsed_s, late):
    assert is_late(took_s, 4, elapsed_s) == late


@given(st.integers(0, 1000), st.lists(seconds, max_size=50))
def test_nobody_is_late_where_all_or_none_have_answered(n_groups, took_s):
    assert not is_late([], n_groups, 1e9)
    assert not is_late(took_s, len(took_s), 1e9)


@given(st.lists(seconds, min_size=1, max_size=50), st.integers(1, 60), seconds, seconds)
def test_whoever_is_late_stays_late(took_s, n_missing, elapsed_s, longer_s):
    n_groups = len(took_s) + n_missing
    if is_late(took_s, n_groups, elapsed_s):
        assert is_late(took_s, n_groups, elapsed_s + longer_s)
        assert elapsed_s > LATE_AFTER_S
        assert elapsed_s > LATE_FACTOR * min(took_s)
        assert len(took_s) >= n_groups - max(1, n_groups // 20 + 1)

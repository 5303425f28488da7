"""The floor's arithmetic by hand, and that its rates can be measured."""

import pytest

from anerf.bench import floor
from anerf.bench.batches import TableShape
from anerf.bench.floor import CORNERS, Rate, floor_measurements, floor_of, level_sizes, multiply_adds


def test_multiply_adds_are_those_of_both_networks_without_padding():
    density = 32 * 64 + 64 * 64 + 64 * 16
    colour = (15 + 9 + 8) * 64 + 64 * 64 + 64 * 3
    assert multiply_adds(TableShape(16, 2, 19).layout()) == density + colour


def test_levels_are_rounded_down_to_powers_of_two():
    # Resolutions 16, 23, 31, 43, 59 are dense (59^3 = 205,379 entries); the other eleven are hashed.
    assert level_sizes(TableShape(16, 2, 19).layout()) == [12, 13, 14, 16, 17] + 11 * [19]


def test_the_floor_adds_networks_and_accesses_level_by_level():
    layout = TableShape(2, 4, 12).layout()  # 16^3 entries dense, 2^12 hashed
    ns = {Rate("multiply-add"): 0.01, Rate("read", 12): 1.0, Rate("add", 12): 2.5}
    got = floor_of(layout, ns)
    networks = 0.01 * multiply_adds(layout)
    assert got.forward.networks_ns == pytest.approx(networks)
    assert got.forward.table_ns == pytest.approx(2 * CORNERS * 1.0)
    assert got.forward_backward.networks_ns == pytest.approx(3 * networks)
    assert got.forward_backward.table_ns == pytest.approx(2 * CORNERS * 3.5)
    assert got.forward.ns == pytest.approx(networks + 16)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_rate_that_a_floor_needs_is_measured(threads, monkeypatch):
    monkeypatch.setattr(floor, "_REPEATS", 1 << 12)
    monkeypatch.setattr(floor, "_ACCESSES", 1 << 12)
    layout = TableShape(4, 2, 13).layout()
    ns = {rate: measure() for rate, measure in floor_measurements(layout, threads).items()}
    assert all(value > 0 for value in ns.values())
    got = floor_of(layout, ns)
    assert 0 < got.forward.ns < got.forward_backward.ns

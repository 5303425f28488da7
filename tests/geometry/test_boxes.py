"""Boxes by hand-computed values, and the slab test against marching along the ray."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from anerf.geometry.boxes import Aabb, intersect_aabb

UNIT = Aabb((0.0, 0.0, 0.0), (2.0, 4.0, 6.0))
coordinate = st.floats(-10, 10, allow_subnormal=False)
triple = st.tuples(coordinate, coordinate, coordinate)


def test_size_center_and_growth():
    assert UNIT.size == (2.0, 4.0, 6.0)
    assert UNIT.center == (1.0, 2.0, 3.0)
    assert UNIT.expanded(1.0) == Aabb((-1.0, -1.0, -1.0), (3.0, 5.0, 7.0))


def test_union_and_intersection():
    other = Aabb((1.0, -1.0, 5.0), (9.0, 1.0, 8.0))
    assert UNIT.union(other) == Aabb((0.0, -1.0, 0.0), (9.0, 4.0, 8.0))
    assert UNIT.intersection(other) == Aabb((1.0, 0.0, 5.0), (2.0, 1.0, 6.0))
    assert UNIT.intersection(Aabb((3.0, 0.0, 0.0), (4.0, 1.0, 1.0))) is None


def test_contains_counts_the_border():
    points = np.array([[0.0, 0, 0], [2, 4, 6], [1, 1, 1], [2.001, 1, 1], [1, 1, -0.001]])
    assert UNIT.contains(points).tolist() == [True, True, True, False, False]


def test_json_round_trip():
    assert Aabb.from_json(UNIT.to_json()) == UNIT


@pytest.mark.parametrize("hi", [(-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (float("inf"), 1.0, 1.0)])
def test_refuses_what_is_no_box(hi):
    with pytest.raises(ValueError, match="finite corners"):
        Aabb((0.0, 0.0, 0.0), hi)


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((-1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (1.0, 3.0)),
        ((1.0, 1.0, 1.0), (0.0, 0.0, 2.0), (0.0, 2.5)),  # starts inside, direction of length 2
        ((1.0, 1.0, 9.0), (0.0, 0.0, -1.0), (3.0, 9.0)),
        ((1.0, 1.0, 9.0), (0.0, 0.0, 1.0), (0.0, 0.0)),  # the box lies behind
        ((1.0, 5.0, 9.0), (0.0, 0.0, -1.0), (0.0, 0.0)),  # runs beside it
        ((0.0, 1.0, 9.0), (0.0, 0.0, -1.0), (3.0, 9.0)),  # runs in a face: counts as inside
        ((1.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 0.0)),  # touches an edge in one point: a miss
        ((0.0, 1.0, 9.0), (1e-45, 0.0, -1.0), (3.0, 9.0)),  # 1 / d overflows: along the face all the same
    ],
)
def test_intersection_by_hand(origin, direction, expected):
    near, far = intersect_aabb(torch.tensor([origin]), torch.tensor([direction]), UNIT)
    assert (near.item(), far.item()) == pytest.approx(expected)


@given(origin=triple, target=triple)
@example(origin=(1.0, -1.0, 0.0), target=(0.0, 0.0, 1.0))  # touches an edge in one point and no more
@example(origin=(0.0, 0.0, 0.0), target=(0.0, 5e-324, 1.0))  # so flat that 1 / d overflows
def test_intersection_agrees_with_marching(origin, target):
    rays_o = torch.tensor([origin], dtype=torch.float64)
    rays_d = torch.tensor([target], dtype=torch.float64) - rays_o
    near, far = intersect_aabb(rays_o, rays_d, UNIT)
    assert (near <= far).all()
    steps = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
    marched = (rays_o + steps * rays_d).numpy()
    inside = ((steps >= near) & (steps <= far) & (far > near)).numpy()[:, 0]
    # Of a point on a face, rounding decides; of all others, both ways must tell the same.
    assert inside[UNIT.expanded(-1e-6).contains(marched)].all()
    assert not inside[~UNIT.expanded(1e-6).contains(marched)].any()

"""Routing against its definition, point by point and expert by expert."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anerf.partition.routing import in_support, routing_weights

cases = st.tuples(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from((2, 3)), st.floats(1.0, 3.0))


def _points(seed: int, n_experts: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(-1, 1, (40, 3))), torch.from_numpy(rng.uniform(-1, 1, (n_experts, 3)))


def test_by_hand():
    centroids = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    xyz = torch.tensor([[1.0, 0.0, 50.0]])  # 1 m from the first, 2 m from the second on the ground
    assert routing_weights(xyz, centroids, 1.9, 2).tolist() == [[1, 0, 0]]
    assert routing_weights(xyz, centroids, 2.1, 2)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    # in space the first two are both about 50 m away, and the third, 111 m away, still answers at 2.3
    assert (routing_weights(xyz, centroids, 2.3, 3) > 0).all()


@settings(deadline=None)
@given(cases)
def test_definition(case):
    seed, n_experts, dims, margin = case
    xyz, centroids = _points(seed, n_experts)
    weights = routing_weights(xyz, centroids, margin, dims).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert ((weights > 0) == in_support(xyz, centroids, margin, dims).numpy()).all()
    for point, row in zip(xyz.numpy(), weights, strict=True):
        distance = np.sqrt(((point - centroids.numpy())[:, :dims] ** 2).sum(axis=1))
        ratio = distance / distance.min()
        inverse = np.where(ratio <= margin, 1 / distance, 0)
        if margin == 1:
            inverse = np.eye(n_experts)[distance.argmin()]
        clear = abs(ratio - margin).min() > 1e-9 or margin == 1
        if clear:
            np.testing.assert_allclose(row, inverse / inverse.sum(), rtol=1e-9)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from((2, 3)))
def test_margin_one_is_voronoi(seed, n_experts, dims):
    xyz, centroids = _points(seed, n_experts)
    weights = routing_weights(xyz, centroids, 1.0, dims)
    nearest = torch.cdist(xyz[:, :dims], centroids[:, :dims]).argmin(dim=1)
    assert torch.equal(weights, torch.nn.functional.one_hot(nearest, n_experts).to(weights.dtype))


def test_ties_at_margin_one_have_one_winner():
    centroids = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert routing_weights(torch.zeros(1, 3), centroids, 1.0, 2).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_point_on_a_centroid_is_that_experts(dtype):
    centroids = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=dtype)
    weights = routing_weights(centroids, centroids, 1.5, 2)
    assert weights.dtype == dtype
    assert weights.tolist() == [[1, 0], [0, 1]]


def test_continuous_across_the_border_between_two():
    centroids = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    x = torch.tensor([[0.9999, 0.0, 0.0], [1.0001, 0.0, 0.0]])
    weights = routing_weights(x, centroids, 1.1, 2)
    assert (weights[0] - weights[1]).abs().max() < 1e-3


def test_refuses_impossible_margin_and_dims():
    with pytest.raises(ValueError, match="at least 1"):
        routing_weights(torch.zeros(1, 3), torch.zeros(1, 3), 0.9, 2)
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        routing_weights(torch.zeros(1, 3), torch.zeros(1, 3), 1.0, 4)

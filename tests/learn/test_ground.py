"""What a first look at a flight finds out about the ground."""

import numpy as np
import pytest
import torch

from anerf.learn.ground import (
    FOCUS_LIMIT,
    MIN_PROBES,
    STALE_CELL_M,
    STALE_RATIO,
    GroundCells,
    drawn_shares,
    stale_ground,
)


@pytest.fixture
def field_of_probes():
    """Probes in the middles of 10 x 8 cells, MIN_PROBES in each, all with error 1."""
    y, x = np.mgrid[:8, :10]
    middle = torch.from_numpy(np.stack((x, y), axis=-1).reshape(-1, 2) + 0.5) * STALE_CELL_M
    # The corners too, so that the cells begin and end where the probes say.
    xy = middle.repeat(MIN_PROBES, 1).float() + torch.tensor([100.0, -50.0])
    xy = torch.cat([xy, torch.tensor([[100.0, -50.0], [139.99, -18.01]])])
    return xy, torch.ones(len(xy))


def in_cell(xy, column, row):
    cell = ((xy - torch.tensor([100.0, -50.0])) / STALE_CELL_M).long()
    return (cell == torch.tensor([column, row])).all(dim=1)


def test_ground_is_stale_where_new_rays_contradict_it_and_beside_that(field_of_probes):
    xy, _ = field_of_probes
    cells = GroundCells.over(xy)
    assert cells.shape == (8, 10)
    patch = in_cell(xy, 4, 3) | in_cell(xy, 5, 3)
    stale = stale_ground(cells, xy, torch.where(patch, STALE_RATIO + 1, 1.0)).view(8, 10)
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[2:5, 3:7] = True
    assert torch.equal(stale, expected)


@pytest.mark.parametrize("error", [1.0, STALE_RATIO - 0.1])
def test_ground_that_is_a_little_worse_is_not_stale(error, field_of_probes):
    xy, errors = field_of_probes
    errors[in_cell(xy, 4, 3)] = error
    assert not stale_ground(GroundCells.over(xy), xy, errors).any()


def test_a_few_bad_probes_in_a_cell_prove_nothing(field_of_probes):
    xy, errors = field_of_probes
    lonely = in_cell(xy, 9, 7).nonzero()[:, 0]
    keep = torch.ones(len(xy), dtype=torch.bool)
    keep[lonely[MIN_PROBES - 1 :]] = False
    errors[lonely] = 100.0
    assert not stale_ground(GroundCells.over(xy), xy[keep], errors[keep]).any()


def test_positions_outside_the_cells_are_in_none():
    cells = GroundCells(torch.tensor([10.0, 20.0]), (2, 3))
    xy = torch.tensor([[10.1, 20.1], [21.9, 27.9], [9.9, 21.0], [22.1, 21.0], [11.0, 28.1]])
    number, inside = cells.index(xy)
    assert inside.tolist() == [True, True, False, False, False]
    assert number[:2].tolist() == [0, 5]


def test_tiles_are_drawn_in_proportion_to_the_errors_of_their_ground(field_of_probes):
    xy, errors = field_of_probes
    errors[in_cell(xy, 4, 3)] = 3.0
    errors[in_cell(xy, 7, 2)] = 1e6
    cells = GroundCells.over(xy)
    tiles = torch.tensor([[4.5, 3.5], [5.5, 3.5], [7.5, 2.5], [90.0, 90.0]]) * STALE_CELL_M
    shares = drawn_shares(cells, xy, errors, tiles + torch.tensor([100.0, -50.0]))
    assert shares.sum().item() == pytest.approx(1)
    assert (shares[0] / shares[1]).item() == pytest.approx(3)
    assert (shares[2] / shares[3]).item() == pytest.approx(FOCUS_LIMIT)  # of the mean, which the last one has


def test_where_nothing_is_wrong_all_tiles_are_drawn_alike(field_of_probes):
    xy, errors = field_of_probes
    shares = drawn_shares(GroundCells.over(xy), xy, torch.zeros_like(errors), xy[:10])
    assert torch.allclose(shares, torch.full((10,), 0.1))

"""The running density estimate."""

import pytest
import torch

from anerf.render import cpu_rays, torch_rays
from anerf.render.density_grid import UPDATE_RATE, DensityGrid, forbid_outside, new_density_grid


@pytest.fixture(params=[torch_rays, cpu_rays], ids=["torch", "kernel"])
def update(request):
    return request.param.update_density


@pytest.fixture
def grid():
    return DensityGrid(torch.zeros(3), torch.tensor([4.0, 2.0, 1.0]), torch.zeros(1, 2, 4))


def test_cells_count_x_first(grid):
    x = torch.tensor([[0.5, 0.5, 0.5], [3.5, 0.5, 0.5], [0.5, 1.5, 0.5], [9.0, 9.0, 9.0]])
    assert grid.cells(x).tolist() == [0, 3, 4, 7]


def test_update_moves_a_cell_as_if_samples_came_one_by_one(grid, update):
    x = torch.tensor([[0.5, 0.5, 0.5]] * 2)
    update(grid, x, torch.tensor([2.0, 4.0]), sigma_max=100)
    assert grid.values[0, 0, 0].item() == pytest.approx(3 * (1 - (1 - UPDATE_RATE) ** 2))
    assert grid.values.count_nonzero() == 1


def test_spikes_are_cut(grid, update):
    update(grid, torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([1e9]), sigma_max=10)
    assert grid.values[0, 0, 0].item() == pytest.approx(10 * UPDATE_RATE)


def test_forbidden_cells_stay_forbidden(update):
    grid = new_density_grid(torch.zeros(3), torch.ones(3), (4, 1, 1), 1.0)
    forbid_outside(grid, torch.tensor([[0.3]]), torch.tensor([[0.6]]))
    x = torch.tensor([[0.5, 0.5, z] for z in (0.1, 0.3, 0.6, 0.9)])
    assert grid.lookup(x)[1].tolist() == [False, True, True, False]
    update(grid, x, torch.full((4,), 5.0), sigma_max=10)
    assert grid.lookup(x)[1].tolist() == [False, True, True, False]

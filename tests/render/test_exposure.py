"""Photographs' affine colour maps: by hand, through arrays, on pictures."""

import numpy as np
import pytest
import torch

from anerf.errors import CheckpointError
from anerf.render.exposure import Exposures, exposed

BRIGHTER = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0.5, 1], [0.1, 0, -0.2]])


def test_a_map_acts_on_the_rays_of_its_photograph_only():
    exposures = Exposures(
        torch.stack([torch.eye(4, 3), BRIGHTER]),
        torch.tensor([False, True]),
        torch.zeros(2, 3),
        torch.tensor([0, 1]),
    )
    rgb = torch.tensor([[0.1, 0.2, 0.4], [0.1, 0.2, 0.4]])
    seen = exposures.applied(rgb, torch.tensor([0, 1]))
    assert torch.allclose(seen, torch.tensor([[0.1, 0.2, 0.4], [0.3, 0.4, 0.2]]))


def test_named_arrays_carry_everything_and_unknown_ones_nothing():
    exposures = Exposures(
        torch.stack([torch.eye(4, 3), BRIGHTER]),
        torch.tensor([False, True]),
        torch.zeros(2, 3),
        torch.tensor([0, 1]),
    )
    back = Exposures.of_named(exposures.named())
    assert back is not None
    assert torch.equal(back.maps, exposures.maps)
    assert back.known.tolist() == [False, True]
    assert back.flight.tolist() == [0, 1]
    assert Exposures.of_named({"background": np.zeros(3)}) is None
    older = {name: array for name, array in exposures.named().items() if name != "exposure.means"}
    with pytest.raises(CheckpointError, match="lack means: the checkpoint was written by another version"):
        Exposures.of_named(older)


def test_more_photographs_start_as_the_identity():
    one = Exposures(BRIGHTER[None], torch.tensor([True]), torch.ones(1, 3), torch.tensor([0]))
    grown = one.grown(torch.tensor([2, 0, 1]))
    assert torch.equal(grown.maps[0], BRIGHTER)
    assert torch.equal(grown.maps[2], torch.eye(4, 3))
    assert grown.known.tolist() == [True, False, False]
    assert grown.flight.tolist() == [0, 0, 1]  # a known photograph's flight is known too
    assert grown.means.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]


# sRGB 0.2 is 0.03310 in linear light; twice that, 0.06621, is sRGB 0.2849.
@pytest.mark.parametrize(("space", "twice"), [("srgb", 0.4), ("linear", 0.2849)])
def test_a_picture_is_exposed_in_the_colour_space_of_the_field(space, twice):
    seen = exposed(np.full((2, 2, 3), 0.2), 2.0 * torch.eye(4, 3), space)
    assert seen == pytest.approx(np.full((2, 2, 3), twice), abs=1e-3)

"""Looks of tasks: the same ground, on another day."""

import pytest
import torch

from anerf.learn.looks import Look, drawn_look
from anerf.learn.rays import RayBatch


def batch_of(rgb: torch.Tensor) -> RayBatch:
    n = len(rgb)
    zeros = torch.zeros(n, dtype=torch.int64)
    return RayBatch(
        torch.zeros(n, 3), torch.zeros(n, 3), rgb, torch.ones(n), torch.zeros(n, 8), zeros, zeros
    )  # fmt: skip


def ground(n: int) -> torch.Tensor:
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(1)).double() * 60 + 1000


def test_day_and_patch_have_maps_of_their_own():
    darker, red = torch.eye(4, 3) * 0.5, torch.zeros(4, 3)
    red[3, 0] = 0.9
    look = Look(darker, red, torch.tensor([10.0, 10.0]), 5.0, torch.full((8,), 1.5))
    worn = look.worn_by(batch_of(torch.full((2, 3), 0.6)), torch.tensor([[10.0, 14.0], [10.0, 16.0]]))
    assert torch.allclose(worn.rgb, torch.tensor([[0.9, 0, 0], [0.3, 0.3, 0.3]]))
    assert torch.equal(worn.code, torch.full((2, 8), 1.5))


def test_a_place_wears_the_same_look_in_every_photograph():
    xy = ground(500)
    look = drawn_look(xy, 1.0, torch.Generator().manual_seed(2))
    rgb = torch.rand(500, 3)
    together = look.worn_by(batch_of(rgb), xy).rgb
    apart = torch.cat([look.worn_by(batch_of(rgb[i : i + 1]), xy[i : i + 1]).rgb for i in range(500)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("seed", range(5))
def test_looks_are_random_reproducible_and_in_range(seed):
    xy = ground(200)
    one, same, other = (drawn_look(xy, 1.0, torch.Generator().manual_seed(s)) for s in (seed, seed, seed + 9))
    assert torch.equal(one.day, same.day)
    assert not torch.equal(one.day, other.day)
    rgb = one.worn_by(batch_of(torch.rand(200, 3)), xy).rgb
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert 0.1 * 58 < one.radius_m < 0.4 * 60
    assert set(one.code.abs().tolist()) == {1.5}


def test_strength_says_how_far_days_are_from_the_survey():
    xy = ground(50)

    def distance(strength: float) -> float:
        looks = [drawn_look(xy, strength, torch.Generator().manual_seed(s)) for s in range(50)]
        return float(torch.stack([(look.day - torch.eye(4, 3)).norm() for look in looks]).mean())

    assert distance(2.0) == pytest.approx(2 * distance(1.0), rel=0.2)
    assert distance(0.0) == 0

"""Stopping when watched photographs get no better."""

import torch

from anerf.field.params import FieldParams
from anerf.learn.adapt import Adapter, AdaptSettings
from anerf.learn.early_stop import CHECK_STEPS, PATIENCE, EarlyStop, watched_tiles
from anerf.learn.optimiser import Rates

RATES = Rates(0.02, 0.004, 0.004, 1e-3, warmup_steps=4)


def params(value: float) -> FieldParams:
    return FieldParams(*(torch.full((8,), value).requires_grad_() for _ in range(3)))


def test_it_goes_back_to_the_best_when_looking_on_is_in_vain():
    stop, weights = EarlyStop(), params(0.0)
    for value, error in enumerate((5.0, 3.0, 3.5, 2.0, 2.1)):
        with torch.no_grad():
            weights.grid.fill_(value)
        stop.look(error, weights)
        assert not stop.stopped
    for _ in range(PATIENCE - 1):
        with torch.no_grad():
            weights.grid.fill_(9.0)
        stop.look(2.0, weights)  # as good is not better
    assert stop.stopped
    assert weights.grid.tolist() == [3.0] * 8


def test_a_photograph_is_watched_or_learned_from():
    frame = torch.arange(20).repeat_interleave(3)
    watched = watched_tiles(frame)
    assert sorted(frame[watched].unique().tolist()) == [4, 12]
    assert watched.sum() == 6
    assert not watched_tiles(torch.tensor([1, 1, 2, 3])).any()  # of so few all are needed
    assert watched_tiles(torch.arange(5)).sum() == 1


def make(learner, state, new_rays, rates, early_stop=True):
    settings = AdaptSettings(128, 0.0, early_stop=early_stop)
    return Adapter(0, 0, learner, settings, rates, state, new_rays, None)


def test_rates_that_ruin_what_is_known_are_stopped_and_undone(learner, copy_trained, rays_of):
    """With absurd rates every look is worse than the first."""
    new_rays = rays_of("after")
    absurd = Rates(0.5, 0.5, 0.5, 1e-3)
    adapter = make(learner, copy_trained(), new_rays, absurd)
    first = adapter.advance(CHECK_STEPS)
    assert not first.stopped
    after_first_look = [tensor.detach().clone() for tensor in adapter.state.params.tensors()]
    last = adapter.advance(40 * CHECK_STEPS)
    assert last.stopped
    assert last.step == 40 * CHECK_STEPS  # experts of a job stand at the same step
    assert adapter.advance(41 * CHECK_STEPS).loss == last.loss > 0  # that of the last step that was made
    assert last.n_rays < 39 * CHECK_STEPS * 128
    if last.n_rays == PATIENCE * CHECK_STEPS * 128:  # none of the looks was better than the first
        for tensor, then in zip(adapter.state.params.tensors(), after_first_look, strict=True):
            assert torch.equal(tensor, then)


def test_watched_photographs_are_not_learned_from(learner, trained, rays_of):
    new_rays = rays_of("after")
    adapter = make(learner, trained, new_rays, RATES)
    watched = watched_tiles(new_rays.frame).nonzero()[:, 0]
    assert len(watched)
    for step in range(5):
        batch = adapter._batch(torch.Generator().manual_seed(step))
        assert not torch.isin(batch.tile, watched).any()


def test_without_it_every_photograph_is_learned_from(learner, trained, rays_of):
    new_rays = rays_of("after")
    adapter = make(learner, trained, new_rays, RATES, early_stop=False)
    drawn = torch.cat([adapter._batch(torch.Generator().manual_seed(s)).tile for s in range(20)])
    assert len(new_rays.frame[drawn].unique()) == len(new_rays.frame.unique())
    assert not adapter.advance(CHECK_STEPS).stopped

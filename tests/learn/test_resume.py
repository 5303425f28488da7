"""2N steps are N steps, a shard on the disk, and N more: to the last bit, whatever the algorithm."""

import pytest
import torch

from anerf.checkpoint.resolve import expert_file, step_folder
from anerf.checkpoint.shards import read_shard, write_shard
from anerf.learn.fast_weights import InnerRule
from anerf.learn.state import restore_state

N = 3
ALGORITHMS = ("plain", "fomaml", "reptile", "maml")


def losses(expert, n_steps):
    return [expert.advance(expert.step + 1).loss for _ in range(n_steps)]


def through_the_disk(expert, layout, box, folder):
    """The expert's state as a resumed job gets it."""
    step_uri = step_folder(str(folder), expert.step)
    record = write_shard(expert_file(step_uri, 0), expert.state.tensors(), {})
    return restore_state(read_shard(step_uri, record), layout, box, step_uri)


def differing(one, other):
    """Names of the tensors in which two states differ by as much as a bit."""
    first, second = one.tensors(), other.tensors()
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.parametrize("fim", [False, True], ids=["", "fisher"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_resumed_training_is_the_one_that_ran_through(algo, fim, make_expert, learner, box, tmp_path):
    through = make_expert(algo, fim=fim, rays=128)
    expected = losses(through, 2 * N)
    stopped = make_expert(algo, fim=fim, rays=128)
    first = losses(stopped, N)
    state = through_the_disk(stopped, learner.setting.layout, box, tmp_path)
    assert differing(state, stopped.state) == []
    resumed = make_expert(algo, fim=fim, rays=128, state=state)
    assert resumed.step == N
    assert first + losses(resumed, N) == expected
    assert differing(resumed.state, through.state) == []
    assert any(name.startswith("fisher.") for name in state.tensors()) == fim


@pytest.mark.parametrize("algo", ["fomaml", "maml"])
@pytest.mark.parametrize("fast", ["all", "mlp"])
def test_so_are_learned_rates_looks_and_anchors(algo, fast, make_expert, learner, box, tmp_path):
    inner = InnerRule(fast, "sgd" if algo == "maml" else "adam", 0.04, 0.01)
    options = {"rays": 128, "inner": inner, "learn_rates": True, "task_shift": 1.0, "anchor_rays": 64}
    through = make_expert(algo, **options)
    expected = losses(through, 2 * N)
    stopped = make_expert(algo, **options)
    first = losses(stopped, N)
    state = through_the_disk(stopped, learner.setting.layout, box, tmp_path)
    resumed = make_expert(algo, state=state, **options)
    assert first + losses(resumed, N) == expected
    assert differing(resumed.state, through.state) == []
    moved = state.inner_rates.detach() != inner.log_rates()
    assert moved.tolist() == [fast == "all", True, True]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_seed_decides_everything(algo, make_expert):
    one, same, other = (make_expert(algo, seed=seed, rays=128) for seed in (5, 5, 6))
    assert losses(one, 2) == losses(same, 2)
    assert differing(one.state, same.state) == []
    other_losses = losses(other, 2)
    assert other_losses != losses(make_expert(algo, seed=5, rays=128), 2)
    assert not torch.equal(one.state.params.color_mlp, other.state.params.color_mlp)


def test_every_step_draws_its_own_rays_whatever_came_before(make_expert):
    """The stretches in which a coordinator asks for steps leave no trace."""
    one, other = make_expert(rays=128), make_expert(rays=128)
    losses(one, 4)
    for to_step in (3, 3, 4):
        other.advance(to_step)
    assert differing(one.state, other.state) == []


@pytest.mark.parametrize("lost", ["adam.grid.second", "density", "step"])
def test_what_is_not_restored_would_show(lost, make_expert, learner, box, tmp_path):
    """Each part of a shard matters: without it the resumed training is another one."""
    through = make_expert(rays=128)
    expected = losses(through, 2 * N)
    stopped = make_expert(rays=128)
    losses(stopped, N)
    state = through_the_disk(stopped, learner.setting.layout, box, tmp_path)
    if lost == "density":
        state.density.values.fill_(1.0)
    elif lost == "step":
        state.step = 0
    else:
        state.moments["grid"].second.zero_()
    assert losses(make_expert(rays=128, state=state), N) != expected[N:]

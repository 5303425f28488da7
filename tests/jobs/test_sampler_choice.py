"""The sampler that a job chooses: while it learns, in its checkpoint, and for who goes on from there."""

import pytest
import torch

from anerf.errors import JobError
from anerf.field.threads import kernel_threads
from anerf.jobs import settings
from anerf.jobs.learning import fresh_expert
from anerf.jobs.spec import parse_job
from anerf.learn.rays import SURVEY_FLIGHT, RaySource
from anerf.partition.coverage import region_tiles
from anerf.partition.regions import load_partition
from anerf.render.samples import March, Sampling
from anerf.scene.pixels import open_pixels

SCALE_M = 50.0
CPU = torch.device("cpu")


def learner_of(job, spec):
    return settings.learner(job, spec, settings.new_setting(job, spec, SCALE_M, CPU), SCALE_M)


def eval_job(**changes):
    return parse_job({"op": "eval", "scene": "/s", "checkpoint_path": "/c", **changes})


def test_training_samples_by_importance_unless_it_says_otherwise():
    job = parse_job({"op": "train", "scene": "/s", "ray_samples": 20, "near": 10.0, "far": 100.0})
    spec = settings.field_spec(job)
    assert (spec.sampler, spec.march_step_m) == ("importance", 0.5)
    assert learner_of(job, spec).sampling == Sampling(20, 0.3, 0.2, 2.0)


def test_a_march_is_in_metres_and_explores_while_it_learns():
    job = parse_job(
        {
            "op": "train",
            "scene": "/s",
            "sampler": "march",
            "march_step_m": 0.25,
            "ray_samples": 32,
            "near": 10.0,
        }
    )
    march = learner_of(job, settings.field_spec(job)).sampling
    assert isinstance(march, March)
    assert (march.step, march.max_samples, march.t_min, march.t_max) == (0.005, 32, 0.2, float("inf"))
    assert march.threshold == pytest.approx(0.02 * SCALE_M)
    assert march.explore_every > 1
    # A fresh grid is haze above the threshold, or nothing would ever be looked at.
    setting = settings.new_setting(job, settings.field_spec(job), SCALE_M, CPU)
    assert march.threshold < 0.2 * torch.e**setting.scale.log_bias


def test_an_adaptation_goes_on_as_its_checkpoint_was_trained():
    train = parse_job({"op": "train", "scene": "/s", "sampler": "march", "march_step_m": 0.25})
    spec = settings.field_spec(train)
    own = learner_of(eval_job(), spec)
    assert isinstance(own.sampling, March)
    assert own.spec == spec
    asked = learner_of(eval_job(sampler="importance"), spec)
    assert isinstance(asked.sampling, Sampling)
    assert asked.spec.sampler == "importance"  # which its pictures and its checkpoint will say


@pytest.mark.parametrize("wrong", [{"sampler": "marching"}, {"march_step_m": 0}, {"march_step_m": "0.5"}])
def test_what_is_no_sampler_is_refused(wrong):
    with pytest.raises(JobError, match=next(iter(wrong))):
        parse_job({"op": "train", "scene": "/s", **wrong})


def test_training_by_a_march_repeats(tiny_scene, train_job):
    job = parse_job(train_job(sampler="march", ray_samples=32, outer_steps=12))
    partition, pixels = load_partition(tiny_scene, "g22"), open_pixels(tiny_scene, 1.0)
    rays = RaySource(
        tiny_scene, pixels, region_tiles(tiny_scene, partition, 0, ("train",), 1.0), (SURVEY_FLIGHT,), "srgb"
    )
    with kernel_threads(1):
        one, other = (fresh_expert(job, tiny_scene, partition, 0, rays) for _ in range(2))
        start = one.state.params.grid.clone()
        one.advance(12)
        other.advance(12)
    assert not torch.equal(one.state.params.grid, start)
    assert torch.equal(one.state.params.grid, other.state.params.grid)
    assert torch.equal(one.state.density.values, other.state.density.values)

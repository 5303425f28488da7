"""A field's settings in checkpoints, also in those from before a setting was a choice."""

import pytest

from anerf.errors import CheckpointError
from anerf.field.spec import FieldSpec

SPEC = FieldSpec(
    n_levels=2, features_per_level=2, log2_hashmap_size=8, base_resolution=4, max_resolution=8,
    sigma_depth=1, color_depth=1, sigma_width=16, color_width=16, dir_encoding="spherical",
    density_cap_per_m=10.0, color_space="srgb", background="head", background_width=16, sample_floor=0.3,
    sampler="march", march_step_m=0.25,
)  # fmt: skip


def test_what_is_written_is_read():
    assert FieldSpec.from_json(SPEC.to_json(), "here") == SPEC


def test_a_checkpoint_from_before_samplers_could_be_chosen_was_sampled_by_importance():
    old = {k: v for k, v in SPEC.to_json().items() if k not in ("sampler", "march_step_m")}
    read = FieldSpec.from_json(old, "here")
    assert (read.sampler, read.march_step_m, read.sample_floor) == ("importance", 0.5, 0.3)


def test_what_is_missing_or_unknown_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"here: .* lack \['sample_floor'\]"):
        FieldSpec.from_json({k: v for k, v in SPEC.to_json().items() if k != "sample_floor"}, "here")
    with pytest.raises(CheckpointError, match=r"here: .* unknown \['samplers'\]"):
        FieldSpec.from_json({**SPEC.to_json(), "samplers": "march"}, "here")


def test_another_sampler_leaves_the_rest_as_it_is():
    assert SPEC.sampled(None, None) == SPEC
    assert SPEC.sampled("importance", 1).to_json() == {
        **SPEC.to_json(),
        "sampler": "importance",
        "march_step_m": 1.0,
    }

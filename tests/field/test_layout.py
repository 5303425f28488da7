"""The parameter layout against sizes that GPU machines have reported, and by hand."""

import pytest

from anerf.errors import InputError
from anerf.field.layout import field_layout, grid_layout, growth_between


def test_sizes_reported_from_gpu_machines():
    reported = grid_layout(16, 2, 19, 16, growth_between(16, 2048, 16))
    assert reported.n_params == 12_196_240  # nerfstudio issue 2241


def test_levels_by_hand():
    layout = grid_layout(3, 2, 10, 4, 2.0)
    # resolutions 4, 8, 16: 64 and 512 entries fit densely into 1024, 4096 do not.
    assert [(level.resolution, level.entries, level.offset, level.hashed) for level in layout.levels] == [
        (4, 64, 0, False),
        (8, 512, 64, False),
        (16, 1024, 576, True),
    ]
    assert layout.n_params == 2 * (64 + 512 + 1024)


def test_dense_levels_are_rounded_up_to_eight():
    (level,) = grid_layout(1, 2, 19, 3, 1.0).levels
    assert (level.resolution, level.entries) == (3, 32)  # 27 rounded up


def test_networks_are_padded_to_sixteen():
    grid = grid_layout(4, 2, 10, 4, 1.5)
    layout = field_layout(
        grid, sigma_depth=1, sigma_width=64, color_depth=2, color_width=64, dir_encoding="frequency"
    )
    assert layout.sigma_mlp.shapes == ((64, 16), (16, 64))
    assert layout.color_mlp.shapes == ((64, 48), (64, 64), (16, 64))  # 15 + 12 + 8 inputs


def test_wrong_width_names_field_and_remedy():
    grid = grid_layout(4, 2, 10, 4, 1.5)
    with pytest.raises(InputError, match=r"dim_hidden is 50.*multiples of 16"):
        field_layout(
            grid, sigma_depth=1, sigma_width=50, color_depth=1, color_width=64, dir_encoding="spherical"
        )

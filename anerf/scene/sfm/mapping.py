"""From matches to poses and points, in a frame of the reconstruction's own."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pycolmap

from anerf.errors import InputError
from anerf.scene.folder import new_folder
from anerf.scene.sfm.features import opened
from anerf.scene.sfm.workplace import StageProgress, Workplace

log = logging.getLogger(__name__)

_FEWEST = 3
# COLMAP's 4 pixels are meant for pictures of some thousand; in small ones they let wrong points bend the
# model.
_LIMIT_SHARE, _LIMIT_PX = 1 / 320, (1.0, 4.0)
# Of the last adjustment's Cauchy loss: about the reprojection error of good points.
_LOSS_PX = 0.3


def mapping_options(cameras: Iterable[pycolmap.Camera], seed: int) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options, with limits that suit the pictures' size."""
    longest_side_px = max(max(camera.width, camera.height) for camera in cameras)
    options = pycolmap.IncrementalPipelineOptions(random_seed=seed)
    limit_px = min(max(longest_side_px * _LIMIT_SHARE, _LIMIT_PX[0]), _LIMIT_PX[1])
    options.mapper.filter_max_reproj_error = limit_px
    options.triangulation.merge_max_reproj_error = limit_px
    options.triangulation.complete_max_reproj_error = limit_px
    return options


def robust_adjustment() -> pycolmap.BundleAdjustmentOptions:
    """Adjustment under a loss that wrong points cannot pull far."""
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _LOSS_PX
    return options


def map_photographs(workplace: Workplace, progress: StageProgress, seed: int) -> pycolmap.Reconstruction:
    """The largest model that the matches give; taken from an earlier run where that finished.

    InputError if fewer than three photographs fit together.
    """
    folder = workplace.root / "sparse"
    if not folder.is_dir():
        with new_folder(folder) as partial:
            _run(workplace, partial, progress, seed)
    model = pycolmap.Reconstruction(folder)
    progress("mapping", model.num_reg_images(), len(workplace.photographs))
    return model


def _run(workplace: Workplace, out: Path, progress: StageProgress, seed: int) -> None:
    n_all = len(workplace.photographs)
    with opened(workplace.database) as connection:
        options = mapping_options(connection.read_all_cameras(), seed)
    options.min_model_size = min(options.min_model_size, _FEWEST)
    registered = 2
    progress("mapping", 0, n_all)

    def one_more() -> None:
        nonlocal registered
        registered += 1
        progress("mapping", min(registered, n_all), n_all)

    attempts = out / "attempts"
    attempts.mkdir()
    models = pycolmap.incremental_mapping(
        workplace.database, workplace.images, attempts, options=options, next_image_callback=one_more
    )
    by_size = sorted(models.values(), key=lambda model: model.num_reg_images(), reverse=True)
    if not by_size or by_size[0].num_reg_images() < _FEWEST:
        raise InputError(
            f"the {n_all} photographs of {workplace.survey} do not fit together: they need to overlap by "
            "more than half, be sharp and show texture; bring more photographs, or larger ones "
            "(--max-image-px)"
        )
    if len(by_size) > 1:
        others = ", ".join(str(model.num_reg_images()) for model in by_size[1:])
        log.warning(
            "the photographs fall into %d groups that nothing connects; the largest is kept (%d "
            "photographs), not those of %s",
            len(by_size), by_size[0].num_reg_images(), others,
        )  # fmt: skip
    pycolmap.bundle_adjustment(by_size[0], robust_adjustment())
    by_size[0].write(out)

"""Features of photographs and matches between them, in COLMAP's database; what is there is not done again."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pycolmap

from anerf.errors import InputError
from anerf.scene.sfm.workplace import Numbered, StageProgress, Workplace

_FEATURES_AT_ONCE = 16
_PAIRS_AT_ONCE = 200
# COLMAP holds about 200 bytes a pixel and thread while it looks for features.
_MOST_THREADS = 8


@contextmanager
def opened(database: Path) -> Iterator[pycolmap.Database]:
    """COLMAP's database, closed in the end."""
    connection = pycolmap.Database.open(database)
    try:
        yield connection
    finally:
        connection.close()


def image_ids(database: Path) -> dict[str, int]:
    """COLMAP's ids of photographs, by their numbers."""
    with opened(database) as connection:
        return {image.name: image.image_id for image in connection.read_all_images()}


def find_features(
    workplace: Workplace,
    progress: StageProgress,
    *,
    camera_model: str,
    max_image_px: int,
    known_cameras: Mapping[str, pycolmap.Camera] | None = None,
) -> None:
    """Finds the features of all photographs of the workplace.

    Photographs of one camera share one in the database; `known_cameras` gives, by `Numbered.camera`, those
    that need no guess from EXIF.
    """
    workplace.root.mkdir(parents=True, exist_ok=True)
    with opened(workplace.database) as connection:
        images = {image.name: image for image in connection.read_all_images()}
        done = {name for name, image in images.items() if connection.exists_keypoints(image.image_id)}
    cameras = {p.camera: images[p.number].camera_id for p in workplace.photographs if p.number in images}
    todo: dict[str, list[Numbered]] = defaultdict(list)
    for photograph in workplace.photographs:
        if photograph.number not in done:
            todo[photograph.camera].append(photograph)
    n_done, n_all = len(workplace.photographs) - sum(map(len, todo.values())), len(workplace.photographs)
    extraction = pycolmap.FeatureExtractionOptions(max_image_size=max_image_px)
    extraction.num_threads = min(_MOST_THREADS, _processors())
    for camera, photographs in todo.items():
        for first in range(0, len(photographs), _FEATURES_AT_ONCE):
            progress("features", n_done, n_all)
            part = photographs[first : first + _FEATURES_AT_ONCE]
            reader = pycolmap.ImageReaderOptions(camera_model=camera_model)
            if camera in cameras:
                reader.existing_camera_id = cameras[camera]
            elif known_cameras and camera in known_cameras:
                known = known_cameras[camera]
                reader.camera_model = known.model.name
                reader.camera_params = ",".join(repr(value) for value in known.params.tolist())
            pycolmap.extract_features(
                workplace.database,
                workplace.images,
                image_names=[photograph.number for photograph in part],
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=extraction,
            )
            if camera not in cameras:
                cameras[camera] = _camera_of(workplace.database, part[0].number)
            n_done += len(part)
    progress("features", n_done, n_all)


def _camera_of(database: Path, number: str) -> int:
    with opened(database) as connection:
        image = connection.read_image_with_name(number)
    if image is None:
        raise InputError(
            f"COLMAP could not read the photograph {number}; see its message above, and remove it"
        )
    return image.camera_id


def match(workplace: Workplace, pairs: Sequence[tuple[int, int]], progress: StageProgress) -> None:
    """Matches pairs of the workplace's photographs (by position)."""
    ids = image_ids(workplace.database)
    numbers = [photograph.number for photograph in workplace.photographs]
    with opened(workplace.database) as connection:
        todo = [
            (numbers[i], numbers[j])
            for i, j in pairs
            if not connection.exists_matches(ids[numbers[i]], ids[numbers[j]])
        ]
    listed = workplace.root / "pairs.txt"
    for first in range(0, len(todo), _PAIRS_AT_ONCE):
        progress("pairs", len(pairs) - len(todo) + first, len(pairs))
        part = todo[first : first + _PAIRS_AT_ONCE]
        listed.write_text("".join(f"{a} {b}\n" for a, b in part), encoding="ascii")
        pycolmap.match_image_pairs(
            workplace.database, pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed)
        )
    listed.unlink(missing_ok=True)
    progress("pairs", len(pairs), len(pairs))


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))

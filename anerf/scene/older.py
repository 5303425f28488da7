"""A folder that the older system prepared (github.com/psklavos1/adaptive-city-nerf), as a survey.

Its layout is Mega-NeRF's (github.com/cmusatyalab/mega-nerf, `scripts/colmap_to_mega_nerf.py`):
`coordinates.pt`, and for each photograph `<split>/metadata/<id>.pt` and `<split>/rgbs/<id>.jpg`; later
flights lie in `continual/<tag>/`. World axes are down, right (east), back (south):
`p = ((-U, E, -N) - origin_drb) / pose_scale_factor`. The columns of rotations are already our camera axes
(right, up, back). Photographs are undistorted, whatever lens the metadata remember.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.colmap import read_colmap
from anerf.scene.json_file import reference_in
from anerf.scene.photographs import check_names, scale_to_photograph
from anerf.scene.survey import Photograph, Survey, check_pose, model_folder
from anerf.scene.tensor_file import read_tensor_file
from anerf.scene.transforms import SPLIT_NAME

log = logging.getLogger(__name__)

COORDINATES_FILE = "coordinates.pt"
_ENDINGS = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")
_SPLITS = {"train": "train", "val": "val", "test": "val"}
_LATER = "continual"
# Down, right, back from east, north, up (`ENU_TO_DRB` in its data/transformations.py).
_DRB_FROM_ENU = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_WRITE_AGAIN = "copy the prepared folder again"


def read_older_survey(root: Path) -> Survey:
    """A survey of a prepared folder; a COLMAP model beside it gives the sparse points.

    Splits are `train` and `val` (also `test`); a later flight's is its tag where there are several below
    `continual/`, else `continual`. The world is ENU metres about `enu_ref_coords` of `coordinates.pt`;
    without it the survey has no reference and needs one from the user. Photographs may be stored at another
    size than the metadata say. `masks/<id>.pt` are photographs' masks (Mega-NeRF's: true where to learn);
    those in folders below are of clusters, which partitions make anew.

    Raises:
        InputError: a file is missing or damaged or holds something else, or nothing is prepared there.
    """
    file = root / COORDINATES_FILE
    coordinates = _dictionary(file)
    origin = _numbers(coordinates, "origin_drb", (3,), file)
    scale_m = float(_numbers(coordinates, "pose_scale_factor", (), file))
    if not (np.isfinite(origin).all() and np.isfinite(scale_m) and scale_m > 0):
        raise InputError(
            f"{file}: origin_drb {origin.tolist()} and pose_scale_factor {scale_m} must be finite, and the "
            f"factor positive; {_WRITE_AGAIN}"
        )
    found = sorted(
        (path for path in root.rglob("metadata/*.pt") if path.is_file()), key=lambda path: (path.stem, path)
    )
    if not found:
        raise InputError(f"{root} holds no metadata/*.pt; give the folder that holds train/ and val/")
    tags = Counter(path.relative_to(root).parts[1] for path in found if _is_later(path, root))
    photographs = tuple(_photograph(path, root, len(tags) > 1, origin, scale_m) for path in found)
    check_names((photograph.name for photograph in photographs), root)
    masks = root / "masks"
    if any(path.parent != masks for path in masks.rglob("*.pt")):
        log.info(
            "the cluster masks in %s are not used: anerf partition divides the scene and finds them", masks
        )
    folder = model_folder(root)
    return Survey(
        root,
        "older",
        photographs,
        reference=_reference(coordinates, file),
        model=read_colmap(folder) if folder else None,
        altitude_range_m=_altitude_range(coordinates, file),
    )


def write_tensor_mask(source: Path, target: Path) -> tuple[int, int]:
    """Writes a photograph's mask from a tensor as a picture (255: learn from it); its width and height."""
    mask = read_tensor_file(source)
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2 or not mask.numel():
        raise InputError(f"{source} is no mask, which is a tensor of height x width; {_WRITE_AGAIN}")
    target.parent.mkdir(parents=True, exist_ok=True)
    learn = (mask.detach() != 0).numpy().astype(np.uint8) * 255
    Image.fromarray(learn).save(target)
    return learn.shape[1], learn.shape[0]


def _is_later(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return parts[0] == _LATER and parts[1] != "metadata"


def _photograph(
    path: Path, root: Path, several: bool, origin: Float[np.ndarray, "3"], scale_m: float
) -> Photograph:
    values = _dictionary(path)
    source = _source(path)
    camera = _camera(values, source, path)
    mask = root / "masks" / path.name
    c2w = _numbers(values, "c2w", (3, 4), path, (4, 4))[:3]
    position = c2w[:, 3] * scale_m + origin
    enu = np.column_stack((_DRB_FROM_ENU.T @ c2w[:, :3], _DRB_FROM_ENU.T @ position))
    return Photograph(
        name=source.name,
        source=source,
        camera=camera,
        c2w=check_pose(enu, source.name, path),
        split=_split(path, root, several),
        mask=mask if mask.is_file() else None,
    )


def _source(path: Path) -> Path:
    candidates = [path.parent.parent / "rgbs" / f"{path.stem}{ending}" for ending in _ENDINGS]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(
        f"photograph {candidates[0]} is missing (nor is there one with another ending); put it there or "
        f"remove {path}"
    )


def _split(path: Path, root: Path, several: bool) -> str | None:
    parts = path.relative_to(root).parts
    if parts[0] == "metadata":
        return None
    split = parts[1] if several and _is_later(path, root) else parts[0]
    if not SPLIT_NAME.fullmatch(split):
        raise InputError(f"{path} is in the split {split!r}; use up to 64 letters, digits, dots, dashes")
    return _SPLITS.get(split, split)


def _camera(values: dict[str, Any], source: Path, path: Path) -> Camera:
    """The pinhole at the photograph's stored size; the metadata's intrinsics are at full size."""
    full = _pixels(values, "W", path), _pixels(values, "H", path)
    fx, fy, cx, cy = _numbers(values, "intrinsics", (4,), path).tolist()
    width, height = scale_to_photograph(source, full, path)
    sx, sy = width / full[0], height / full[1]
    try:
        return Camera("PINHOLE", width, height, (fx * sx, fy * sy, cx * sx, cy * sy))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _pixels(values: dict[str, Any], key: str, path: Path) -> int:
    number = float(_numbers(values, key, (), path))
    if not (1 <= number < 2**31 and number == round(number)):
        raise InputError(f"{path}: {key} is {number}, not a number of pixels; {_WRITE_AGAIN}")
    return round(number)


def _reference(coordinates: dict[str, Any], file: Path) -> GeodeticReference | None:
    if coordinates.get("enu_ref_coords") is None:
        return None
    latitude, longitude, height = _numbers(coordinates, "enu_ref_coords", (3,), file).tolist()
    return reference_in(file, latitude, longitude, height)


def _altitude_range(coordinates: dict[str, Any], file: Path) -> tuple[float, float] | None:
    if coordinates.get("altitude_range_enu") is None:
        return None
    low, high = _numbers(coordinates, "altitude_range_enu", (2,), file).tolist()
    return low, high


def _dictionary(path: Path) -> dict[str, Any]:
    values = read_tensor_file(path)
    if not isinstance(values, dict):
        raise InputError(
            f"{path} holds a {type(values).__name__}, not a table of named values; {_WRITE_AGAIN}"
        )
    return values


def _numbers(
    values: dict[str, Any], key: str, shape: tuple[int, ...], path: Path, other: tuple[int, ...] | None = None
) -> np.ndarray:
    """The entry `key`, a tensor or plain numbers of one of two shapes, as float64."""
    if key not in values:
        raise InputError(f"{path} has no {key}; {_WRITE_AGAIN}")
    try:
        numbers = torch.as_tensor(values[key], dtype=torch.float64).detach().numpy()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{path}: {key} is not made of numbers; {_WRITE_AGAIN}") from None
    if numbers.shape not in (shape, other):
        raise InputError(f"{path}: {key} has the shape {numbers.shape}, not {shape}; {_WRITE_AGAIN}")
    return numbers

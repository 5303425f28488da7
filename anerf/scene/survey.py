"""What a user brings: photographs with poses, and perhaps sparse points, in one world frame.

That frame is ECEF, ENU metres, or the reconstruction's own; `world` tells them apart.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.colmap import FILES, ColmapModel, read_colmap
from anerf.scene.photographs import check_names

MODEL_FOLDERS = ("model", "sparse/0", "sparse", "colmap/sparse/0")


@dataclass(frozen=True, eq=False)
class Photograph:
    """One posed photograph of a survey."""

    name: str
    """Path below the scene's `images/`."""
    source: Path
    camera: Camera
    c2w: Float[np.ndarray, "3 4"]
    """OpenGL axes, in the survey's world, float64."""
    split: str | None = None
    """None where the survey names no splits."""
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Survey:
    """Posed photographs and, where there is one, the sparse model that their points come from."""

    root: Path
    kind: str
    """`colmap`, `transforms`, `odm` or `older`: what the poses were read from."""
    photographs: tuple[Photograph, ...]
    reference: GeodeticReference | None = None
    """Origin of the world frame if that is ENU and the survey says where it lies."""
    model: ColmapModel | None = None
    altitude_range_m: tuple[float, float] | None = None
    """ENU heights that the survey says its scene lies between."""


def model_folder(root: Path) -> Path | None:
    """The first of the usual places in a survey that holds a COLMAP model, complete or not."""
    for name in MODEL_FOLDERS:
        folder = root / name
        if any((folder / file).with_suffix(end).is_file() for file in FILES for end in (".bin", ".txt")):
            return folder
    return None


def read_colmap_survey(root: Path) -> Survey:
    """A survey of `images/` and a COLMAP model; masks are `masks/<photograph name>.png` where they exist."""
    folder = model_folder(root)
    if folder is None:
        raise InputError(
            f"{root} holds no COLMAP model (looked in {', '.join(MODEL_FOLDERS)}); put {', '.join(FILES)} "
            f"into {root / 'model'}"
        )
    if not (root / "images").is_dir():
        raise InputError(
            f"{root} has no images folder; put the photographs of the model into {root / 'images'}"
        )
    model = read_colmap(folder)
    check_names((image.name for image in model.images), folder / "images.bin")
    photographs = []
    for image in model.images:
        mask = root / "masks" / f"{image.name}.png"
        photographs.append(
            Photograph(
                name=image.name,
                source=root / "images" / image.name,
                camera=model.cameras[image.camera_id],
                c2w=check_pose(image.c2w, image.name, folder / "images.bin"),
                mask=mask if mask.is_file() else None,
            )
        )
    return Survey(root, "colmap", tuple(photographs), model=model)


def check_pose(c2w: Float[np.ndarray, "3 4"], name: str, source: Path) -> Float[np.ndarray, "3 4"]:
    """Returns the pose if it is a finite position and a proper rotation; InputError otherwise."""
    rotation = c2w[:, :3]
    if not np.isfinite(c2w).all():
        problem = "holds numbers that are not finite"
    elif not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
        problem = "is not a rotation (its axes are not at right angles and of length 1)"
    elif np.linalg.det(rotation) < 0:
        problem = "is mirrored (its axes are left-handed)"
    else:
        return c2w
    raise InputError(f"{source}: the pose of {name} {problem}; register the photograph again or remove it")

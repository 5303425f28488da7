"""COLMAP sparse models as files: `cameras.bin`, `images.bin`, `points3D.bin`.

This is the one door to COLMAP's formats. Files are read by our own bounds-checked reader, because a
truncated file must become one sentence and not the end of the process. Poses are turned from COLMAP's
world-to-camera (x right, y down, z forward) into camera-to-world with OpenGL axes (x right, y up, z back).
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from anerf.errors import InputError
from anerf.geometry.camera_models import CAMERA_MODELS, MODEL_OF_NUMBER
from anerf.geometry.cameras import Camera

FILES = ("cameras.bin", "images.bin", "points3D.bin")
_NO_POINT = np.uint64(2**64 - 1)
_OBSERVATION = np.dtype([("xy", "<f8", 2), ("point", "<u8")])
_TRACK = np.dtype([("image", "<u4"), ("index", "<u4")])
_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class ColmapImage:
    """A registered photograph: its pose in the model's world and the points that were seen in it."""

    name: str
    camera_id: int
    c2w: Float[np.ndarray, "3 4"]
    observed_xy: Float[np.ndarray, "m 2"]
    """Pixels, centres at +0.5."""
    observed_point: Int[np.ndarray, " m"]
    """Index into the model's points, or -1."""


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Cameras, posed photographs and sparse points of one reconstruction."""

    cameras: dict[int, Camera]
    images: tuple[ColmapImage, ...]
    points_xyz: Float[np.ndarray, "p 3"]
    points_rgb: UInt8[np.ndarray, "p 3"]
    points_error_px: Float[np.ndarray, " p"]
    """Mean reprojection error of each point as the model states it, in pixels."""


def read_colmap(folder: Path) -> ColmapModel:
    """Reads a binary model; InputError names the file that is missing or damaged."""
    for name in FILES:
        if not (folder / name).is_file():
            text = (folder / name).with_suffix(".txt").is_file()
            found = f"only {name[:-4]}.txt is there" if text else "the file is missing"
            raise InputError(
                f"{folder} is no complete binary COLMAP model, {name}: {found}; "
                f"write {', '.join(FILES)} with colmap model_converter --output_type BIN"
            )
    cameras = _read_cameras(folder / FILES[0])
    point_ids, xyz, rgb, error_px = _read_points(folder / FILES[2])
    images = _read_images(folder / FILES[1], cameras, point_ids)
    return ColmapModel(cameras, images, xyz, rgb, error_px)


def stored_poses(folder: Path) -> dict[str, bytes]:
    """The bytes of every photograph's pose (quaternion and translation), to compare to the last bit."""
    reader, poses = _Reader(folder / FILES[1]), {}
    for _ in range(reader.count(73, "images")):
        (image_id,) = reader.values("<I", "an image")
        (pose,) = reader.values("56s", "a pose")
        reader.values("<I", "an image")
        name = reader.name(f"the name of image {image_id}")
        reader.array(_OBSERVATION, reader.count(24, f"observations in {name}"), name)
        poses[name] = pose
    return poses


def write_colmap(folder: Path, model: ColmapModel) -> None:
    """Writes the three binary files; ids of images and points count from 1 in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_cameras(folder / FILES[0], model.cameras)
    _write_images(folder / FILES[1], model.images)
    _write_points(folder / FILES[2], model)


class _Reader:
    """A file's bytes, taken one piece after the other, never past the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); check the file and its rights"
            ) from None
        self._at = 0

    def values(self, layout: str, what: str) -> tuple[Any, ...]:
        n_bytes = struct.calcsize(layout)
        self._require(n_bytes, what)
        self._at += n_bytes
        return struct.unpack_from(layout, self._data, self._at - n_bytes)

    def array(self, dtype: np.dtype, count: int, what: str) -> np.ndarray:
        self._require(count * dtype.itemsize, what)
        self._at += count * dtype.itemsize
        return np.frombuffer(self._data, dtype, count, self._at - count * dtype.itemsize)

    def count(self, least_bytes: int, what: str) -> int:
        (count,) = self.values("<Q", f"the number of {what}")
        self._require(count * least_bytes, f"{count} {what}")
        return count

    def name(self, what: str) -> str:
        end = self._data.find(b"\0", self._at)
        self._require((end if end >= 0 else len(self._data)) + 1 - self._at, what)
        raw, self._at = self._data[self._at : end], end + 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8 text: {raw[:40]!r}") from None

    def finish(self) -> None:
        if self._at != len(self._data):
            raise self.damaged(f"{len(self._data) - self._at} bytes follow after its last entry")

    def damaged(self, why: str) -> InputError:
        return InputError(f"{self.path} is damaged ({why}); export the COLMAP model again")

    def _require(self, n_bytes: int, what: str) -> None:
        if self._at + n_bytes > len(self._data):
            raise self.damaged(f"its {len(self._data)} bytes end inside {what}")


def _read_cameras(path: Path) -> dict[int, Camera]:
    reader, cameras = _Reader(path), {}
    for _ in range(reader.count(24, "cameras")):
        camera_id, model_id, width, height = reader.values("<IiQQ", "a camera")
        if model_id not in MODEL_OF_NUMBER:
            raise InputError(
                f"{path}: camera {camera_id} has the unknown model number {model_id}; "
                "undistort the pictures to PINHOLE with colmap image_undistorter and use that model"
            )
        name = MODEL_OF_NUMBER[model_id]
        n_params = len(CAMERA_MODELS[name].params)
        params = reader.values(f"<{n_params}d", f"the parameters of camera {camera_id}")
        try:
            cameras[camera_id] = Camera(name, width, height, params)
        except InputError as error:
            raise InputError(f"{path}: camera {camera_id}: {error}") from None
    reader.finish()
    return cameras


def _read_images(
    path: Path, cameras: dict[int, Camera], point_ids: Int[np.ndarray, " p"]
) -> tuple[ColmapImage, ...]:
    reader, images = _Reader(path), []
    order = np.argsort(point_ids)
    for _ in range(reader.count(73, "images")):
        image_id, *pose, camera_id = reader.values("<I7dI", "an image")
        name = reader.name(f"the name of image {image_id}")
        seen = reader.array(_OBSERVATION, reader.count(24, f"observations in {name}"), name)
        if camera_id not in cameras:
            raise reader.damaged(f"image {name} uses camera {camera_id}, which cameras.bin does not hold")
        images.append(
            ColmapImage(
                name,
                camera_id,
                _c2w_from_colmap(np.array(pose), name, path),
                seen["xy"].copy(),
                _point_indices(seen["point"], point_ids, order, reader),
            )
        )
    reader.finish()
    if not images:
        raise InputError(f"{path} holds no image; reconstruct the photographs before preparing a scene")
    return tuple(images)


def _point_indices(
    ids: np.ndarray, point_ids: np.ndarray, order: np.ndarray, reader: _Reader
) -> Int[np.ndarray, " m"]:
    indices = np.full(len(ids), -1, dtype=np.int64)
    has_point = ids != _NO_POINT
    wanted = ids[has_point]
    place = np.searchsorted(point_ids, wanted, sorter=order)
    known = place < len(point_ids)
    known[known] = point_ids[order[place[known]]] == wanted[known]
    if not known.all():
        raise reader.damaged(f"it refers to point {wanted[~known][0]}, which points3D.bin does not hold")
    indices[has_point] = order[place]
    return indices


def _read_points(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    reader = _Reader(path)
    n_points = reader.count(51, "points")
    ids, xyz = np.empty(n_points, np.uint64), np.empty((n_points, 3))
    rgb, error_px = np.empty((n_points, 3), np.uint8), np.empty(n_points)
    for i in range(n_points):
        ids[i], *xyz[i], rgb[i, 0], rgb[i, 1], rgb[i, 2], error_px[i], n_track = reader.values(
            "<Q3d3BdQ", "a point"
        )
        reader.array(_TRACK, n_track, f"the track of point {ids[i]}")
    reader.finish()
    if not np.isfinite(xyz).all():
        bad = ids[~np.isfinite(xyz).all(axis=1)][0]
        raise reader.damaged(f"the position of point {bad} is not a finite number")
    return ids, xyz, rgb, error_px


def _c2w_from_colmap(pose: Float[np.ndarray, "7"], name: str, path: Path) -> Float[np.ndarray, "3 4"]:
    length = np.linalg.norm(np.clip(pose[:4], -4, 4))
    if not np.isfinite(pose).all() or not 0.5 < length < 2:
        raise InputError(
            f"{path}: the pose of {name} is not a rotation and a translation ({pose.tolist()}); "
            "remove the image from the model or register it again"
        )
    w, x, y, z = pose[:4] / length
    world_to_camera = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    rotation = world_to_camera.T
    return np.column_stack((rotation @ _FLIP, -rotation @ pose[4:]))


def _colmap_from_c2w(c2w: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "7"]:
    world_to_camera = (c2w[:, :3] @ _FLIP).T
    # The eigenvector of the largest eigenvalue of this matrix is the rotation's quaternion (Bar-Itzhack).
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = world_to_camera
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(matrix)[1][:, -1]
    quaternion *= np.copysign(1.0, quaternion[0])
    return np.concatenate((quaternion, -world_to_camera @ c2w[:, 3]))


def _write_cameras(path: Path, cameras: dict[int, Camera]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(cameras)))
        for camera_id, camera in cameras.items():
            number = CAMERA_MODELS[camera.model].number
            file.write(struct.pack("<IiQQ", camera_id, number, camera.width, camera.height))
            file.write(struct.pack(f"<{len(camera.params)}d", *camera.params))


def _write_images(path: Path, images: tuple[ColmapImage, ...]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(images)))
        for image_id, image in enumerate(images, start=1):
            file.write(struct.pack("<I7dI", image_id, *_colmap_from_c2w(image.c2w), image.camera_id))
            file.write(image.name.encode("utf-8") + b"\0")
            seen = np.empty(len(image.observed_xy), _OBSERVATION)
            seen["xy"] = image.observed_xy
            # Index i has id i + 1, and COLMAP's mark for "no point" is -1 as an unsigned number.
            has_point = image.observed_point >= 0
            seen["point"] = np.where(
                has_point, image.observed_point.astype(np.uint64) + np.uint64(1), _NO_POINT
            )
            file.write(struct.pack("<Q", len(seen)) + seen.tobytes())


def _write_points(path: Path, model: ColmapModel) -> None:
    n_seen = [len(image.observed_point) for image in model.images]
    point = np.concatenate([image.observed_point for image in model.images] or [np.empty(0, np.int64)])
    track = np.empty(len(point), _TRACK)
    track["image"] = np.repeat(np.arange(1, len(n_seen) + 1), n_seen)
    track["index"] = np.concatenate([np.arange(n) for n in n_seen] or [np.empty(0, np.int64)])
    order = np.argsort(point, kind="stable")
    starts = np.searchsorted(point[order], np.arange(len(model.points_xyz) + 1))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(model.points_xyz)))
        for i, (xyz, rgb) in enumerate(zip(model.points_xyz, model.points_rgb, strict=True)):
            seen = track[order[starts[i] : starts[i + 1]]]
            values = (i + 1, *xyz, *rgb.tolist(), model.points_error_px[i], len(seen))
            file.write(struct.pack("<Q3d3BdQ", *values) + seen.tobytes())

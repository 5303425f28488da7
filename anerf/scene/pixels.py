"""The scene's pictures at one size, decoded once and shared by every process through a memory map.

The cache is `<scene>/cache/pixels-<downscale>-<key>/`: the bytes of all pictures (and of the distinct masks)
one after the other, and an index. Its key follows from the photographs' hashes, so that an updated scene
gets a new cache, which takes over what the old one already holds.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from anerf.errors import SceneError
from anerf.geometry.cameras import Camera
from anerf.scene.frames import Frame
from anerf.scene.photographs import UNREADABLE
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress, on_threads

_PIXELS_FILE, _INDEX_FILE = "pixels.u8", "index.json"


@dataclass(frozen=True)
class _Block:
    """Where one picture (3 bytes a pixel) or mask (1 byte a pixel: 1 = learn) lies in the file."""

    key: str
    offset: int
    width: int
    height: int
    channels: int

    @property
    def n_bytes(self) -> int:
        return self.width * self.height * self.channels


class PixelStore:
    """Pictures of a scene at one size. `i` counts the scene's frames in their order, not by their ids."""

    def __init__(
        self,
        data: UInt8[np.ndarray, " bytes"],
        cameras: Sequence[Camera],
        pictures: list[_Block],
        masks: list[_Block | None],
    ) -> None:
        self._data = data
        self._cameras = tuple(cameras)
        self._pictures, self._masks = pictures, masks
        self._offset = np.array([block.offset for block in pictures], dtype=np.int64)
        self._width = np.array([block.width for block in pictures], dtype=np.int64)
        self._mask_offset = np.array([block.offset if block else -1 for block in masks], dtype=np.int64)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._pictures)

    def camera(self, i: int) -> Camera:
        """The camera of picture `i` at this size."""
        return self._cameras[i]

    def size(self, i: int) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._pictures[i].width, self._pictures[i].height

    def image(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Picture `i` as sRGB bytes; a view that must not be written."""
        block = self._pictures[i]
        return self._data[block.offset : block.offset + block.n_bytes].reshape(block.height, block.width, 3)

    def mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Which pixels of picture `i` may be learned from."""
        width, height = self.size(i)
        block = self._masks[i]
        if block is None:
            return np.broadcast_to(np.True_, (height, width))
        return self._data[block.offset : block.offset + block.n_bytes].reshape(height, width).view(np.bool_)

    def gather(
        self, frame: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n 3"]:
        """Colours of pixels (column `x`, row `y`) of pictures `frame`."""
        first = self._offset[frame] + 3 * (y * self._width[frame] + x)
        return self._data[first[:, None] + np.arange(3)]

    def gather_mask(
        self, frame: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        """Which of these pixels may be learned from."""
        offset = self._mask_offset[frame]
        at = np.where(offset < 0, 0, offset + y * self._width[frame] + x)
        return (offset < 0) | (self._data[at] != 0)


def open_pixels(scene: Scene, downscale: float, progress: Progress | None = None) -> PixelStore:
    """Opens the scene's pictures at `downscale` (0.25: a quarter of the width), decoding them the first time.

    Several processes may call this at once: one decodes, the others wait for it. SceneError names a
    photograph that is missing or not as it was when the scene was prepared.
    """
    if not 0 < downscale <= 1:
        raise SceneError(
            f"downscale {downscale} is not possible; give a factor above 0 and up to 1, such as 0.25"
        )
    cameras = [frame.camera.scaled(downscale) for frame in scene.frames]
    pictures, masks, n_bytes = _layout(scene.frames, cameras)
    label = f"pixels-{downscale:g}"
    folder = scene.root / "cache" / f"{label}-{_cache_key(pictures, masks)}"
    with _locked(scene.root / "cache", label):
        if not (folder / _INDEX_FILE).is_file():
            _build(scene, folder, label, pictures, masks, n_bytes, progress)
        data = np.memmap(folder / _PIXELS_FILE, np.uint8, mode="r", shape=(n_bytes,))
    return PixelStore(data, cameras, pictures, masks)


def decode_frame(
    scene: Scene, frame: Frame, downscale: float
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """One photograph and which of its pixels count, as a `PixelStore` has them, without the cache."""
    camera = frame.camera.scaled(downscale)
    block = _Block(frame.sha256, 0, camera.width, camera.height, 3)
    picture = _decode_picture(scene, frame, block)
    if frame.mask is None:
        return picture, np.ones(picture.shape[:2], np.bool_)
    return picture, _decode_mask(scene, frame, block).view(np.bool_)


def box_downscale(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at a smaller size, every new pixel the mean of the pixels whose centres it covers."""
    if picture.width % width == 0 and picture.height % height == 0:
        return picture.reduce((picture.width // width, picture.height // height))
    return picture.resize((width, height), Image.Resampling.BOX)


def _layout(
    frames: Sequence[Frame], cameras: Sequence[Camera]
) -> tuple[list[_Block], list[_Block | None], int]:
    end, pictures, masks = 0, [], []
    shared: dict[tuple[str, int, int], _Block] = {}
    for frame, camera in zip(frames, cameras, strict=True):
        pictures.append(_Block(frame.sha256, end, camera.width, camera.height, 3))
        end += pictures[-1].n_bytes
    for frame, camera in zip(frames, cameras, strict=True):
        if frame.mask is None:
            masks.append(None)
            continue
        wanted = (frame.mask, camera.width, camera.height)
        if wanted not in shared:
            shared[wanted] = _Block(frame.mask, end, camera.width, camera.height, 1)
            end += shared[wanted].n_bytes
        masks.append(shared[wanted])
    return pictures, masks, end


def _cache_key(pictures: list[_Block], masks: list[_Block | None]) -> str:
    blocks = [asdict(block) if block else None for block in (*pictures, *masks)]
    return hashlib.sha256(json.dumps(blocks).encode()).hexdigest()[:16]


@contextmanager
def _locked(cache: Path, label: str) -> Iterator[None]:
    try:
        cache.mkdir(exist_ok=True)
        file = (cache / f"{label}.lock").open("w")
    except OSError as error:
        raise SceneError(
            f"{cache} cannot be written ({error.strerror}); make the scene folder writable or copy it, "
            "because decoded pictures are kept there"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    scene: Scene,
    folder: Path,
    label: str,
    pictures: list[_Block],
    masks: list[_Block | None],
    n_bytes: int,
    progress: Progress | None,
) -> None:
    """Decodes into a folder beside the final one and renames it; call with the lock held."""
    cache = folder.parent
    partial = cache / f"{label}.building"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    stale = [old for old in cache.glob(f"{label}-*") if old.is_dir()]
    known = _known_blocks(stale)
    mask_blocks = {(block.key, block.width, block.height): block for block in masks if block}
    data = np.memmap(partial / _PIXELS_FILE, np.uint8, mode="w+", shape=(n_bytes,))
    frame_of_mask = {frame.mask: frame for frame in scene.frames if frame.mask}

    def place(item: tuple[_Block, Frame]) -> None:
        block, frame = item
        known_bytes = known.get((block.key, block.width, block.height, block.channels))
        if known_bytes is None:
            decode = _decode_picture if block.channels == 3 else _decode_mask
            known_bytes = decode(scene, frame, block).ravel()
        data[block.offset : block.offset + block.n_bytes] = known_bytes

    work = [*zip(pictures, scene.frames, strict=True)]
    work += [(block, frame_of_mask[block.key]) for block in mask_blocks.values()]
    on_threads(place, work, progress)
    data.flush()
    blocks = [asdict(block) for block, _ in work]
    (partial / _INDEX_FILE).write_text(json.dumps({"downscaled": label, "blocks": blocks}), encoding="utf-8")
    partial.rename(folder)
    for old in stale:
        shutil.rmtree(old, ignore_errors=True)


def _known_blocks(stale: list[Path]) -> dict[tuple[str, int, int, int], np.ndarray]:
    """What older caches of this size already hold, by photograph hash and size."""
    known = {}
    for old in stale:
        if not (old / _INDEX_FILE).is_file():
            continue
        data = np.memmap(old / _PIXELS_FILE, np.uint8, mode="r")
        for entry in json.loads((old / _INDEX_FILE).read_text(encoding="utf-8"))["blocks"]:
            block = _Block(**entry)
            place = slice(block.offset, block.offset + block.n_bytes)
            known[block.key, block.width, block.height, block.channels] = data[place]
    return known


def _decode_picture(scene: Scene, frame: Frame, block: _Block) -> UInt8[np.ndarray, "h w 3"]:
    picture = _open(scene.root / frame.file, frame).convert("RGB")
    return np.asarray(box_downscale(picture, block.width, block.height))


def _decode_mask(scene: Scene, frame: Frame, block: _Block) -> UInt8[np.ndarray, "h w"]:
    """1 where every pixel of the area may be learned from."""
    mask = _open(scene.root / str(frame.mask), frame).convert("L").point([0] + [255] * 255)
    return (np.asarray(box_downscale(mask, block.width, block.height)) == 255).astype(np.uint8)


def _open(path: Path, frame: Frame) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
    except UNREADABLE as error:
        raise SceneError(
            f"{path} cannot be decoded ({error}); put the original back or prepare again"
        ) from None
    if picture.size != (frame.camera.width, frame.camera.height):
        raise SceneError(
            f"{path} has {picture.width} x {picture.height} pixels but its camera {frame.camera.width} x "
            f"{frame.camera.height}; put the original back or prepare again"
        )
    return picture

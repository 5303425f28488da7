"""The files of decoded pictures: `<scene>/cache/pixels-<downscale>-<key>/`.

They hold the bytes of all pictures (and of the distinct masks) one after the other, and an index. The key
follows from the photographs' hashes, so that an updated scene gets new files, which take over what the old
ones already hold. Pictures at other sizes stay until their room is needed.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from anerf.errors import SceneError, StorageUnavailable
from anerf.geometry.cameras import Camera
from anerf.outage import is_outage
from anerf.scene.decode import decode_mask, decode_picture
from anerf.scene.frames import Frame
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress, on_threads

log = logging.getLogger(__name__)

PIXELS_FILE, _INDEX_FILE = "pixels.u8", "index.json"
# What the disk keeps free for checkpoints and logs.
_SPARE_BYTES = 256 << 20


@dataclass(frozen=True)
class Block:
    """Where one picture (3 bytes a pixel) or mask (1 byte a pixel: 1 = learn) lies in the file."""

    key: str
    offset: int
    width: int
    height: int
    channels: int

    @property
    def n_bytes(self) -> int:
        """Its length."""
        return self.width * self.height * self.channels


@dataclass(frozen=True)
class Layout:
    """What lies where: a block for each of the scene's frames, and one for its mask where it has one."""

    pictures: list[Block]
    masks: list[Block | None]
    n_bytes: int

    @classmethod
    def of(cls, frames: Sequence[Frame], cameras: Sequence[Camera]) -> "Layout":
        """Pictures in the order of the frames, at the cameras' sizes, then the distinct masks."""
        end, pictures, masks = 0, [], []
        shared: dict[tuple[str, int, int], Block] = {}
        for frame, camera in zip(frames, cameras, strict=True):
            pictures.append(Block(frame.sha256, end, camera.width, camera.height, 3))
            end += pictures[-1].n_bytes
        for frame, camera in zip(frames, cameras, strict=True):
            if frame.mask is None:
                masks.append(None)
                continue
            wanted = (frame.mask, camera.width, camera.height)
            if wanted not in shared:
                shared[wanted] = Block(frame.mask, end, camera.width, camera.height, 1)
                end += shared[wanted].n_bytes
            masks.append(shared[wanted])
        return cls(pictures, masks, end)

    @property
    def key(self) -> str:
        """Tells layouts of other photographs or sizes apart."""
        blocks = [asdict(block) if block else None for block in (*self.pictures, *self.masks)]
        return hashlib.sha256(json.dumps(blocks).encode()).hexdigest()[:16]


@contextmanager
def pixels_folder(
    scene: Scene, downscale: float, layout: Layout, progress: Progress | None
) -> Iterator[Path]:
    """The folder of the scene's pictures at that size, made the first time; it stays inside the block.

    Several processes may ask at once: one decodes, the others wait for it. SceneError names a photograph that
    is missing or not as it was when the scene was prepared, and a disk that is too small; StorageUnavailable
    a full one.
    """
    cache, label = scene.root / "cache", f"pixels-{downscale:g}"
    folder = cache / f"{label}-{layout.key}"
    try:
        cache.mkdir(exist_ok=True)
        lock = (cache / f"{label}.lock").open("w")
    except OSError as error:
        raise SceneError(
            f"{cache} cannot be written ({error.strerror}); make the scene folder writable or copy it, "
            "because decoded pictures are kept there"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _INDEX_FILE).is_file():
            _make_room(cache, label, layout.n_bytes, len(layout.pictures))
            _build(scene, folder, label, layout, progress)
        # Read last: what is out of use for long makes room first.
        os.utime(folder / _INDEX_FILE)
        yield folder


def _make_room(cache: Path, label: str, n_bytes: int, n_pictures: int) -> None:
    """Removes pictures at other sizes, the longest unused first, as long as the disk has no room for more."""
    others = [index.parent for index in cache.glob(f"pixels-*/{_INDEX_FILE}")]
    others = [folder for folder in others if folder.name.rpartition("-")[0] != label]
    for folder in sorted(others, key=lambda folder: (folder / _INDEX_FILE).stat().st_mtime):
        if shutil.disk_usage(cache).free >= n_bytes + _SPARE_BYTES:
            return
        if _removed_unused(folder):
            log.info("removed %s: the disk has no room for pictures at another size beside it", folder)
    free = shutil.disk_usage(cache).free
    if free < n_bytes + _SPARE_BYTES:
        too_small = shutil.disk_usage(cache).total < n_bytes + _SPARE_BYTES
        raise (SceneError if too_small else StorageUnavailable)(
            f"{n_pictures} pictures of this size need {n_bytes / 1e9:.3g} GB in {cache} and "
            f"{_SPARE_BYTES / 1e9:.2g} GB to spare, and its disk has {free / 1e9:.3g} GB free; take a "
            "smaller downscale or move the scene to another disk"
        )


def _removed_unused(folder: Path) -> bool:
    """Removes the pictures unless a process has them open or is about to open them."""
    label = folder.name.rpartition("-")[0]
    try:
        with (folder.parent / f"{label}.lock").open("w") as lock, (folder / PIXELS_FILE).open("rb") as pixels:
            for file in (lock, pixels):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    except BlockingIOError:
        return False
    return True


def _build(scene: Scene, folder: Path, label: str, layout: Layout, progress: Progress | None) -> None:
    """Decodes into a folder beside the final one and renames it; call with the lock held."""
    cache = folder.parent
    partial = cache / f"{label}.building"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    stale = [old for old in cache.glob(f"{label}-*") if old.is_dir()]
    known = _known_blocks(stale)
    mask_blocks = {(block.key, block.width, block.height): block for block in layout.masks if block}
    frame_of_mask = {frame.mask: frame for frame in scene.frames if frame.mask}
    work = [*zip(layout.pictures, scene.frames, strict=True)]
    work += [(block, frame_of_mask[block.key]) for block in mask_blocks.values()]
    # Written, not mapped: that is nobody's resident memory, and a full disk is an error, not a signal.
    with (partial / PIXELS_FILE).open("wb") as pixels:

        def place(item: tuple[Block, Frame]) -> None:
            block, frame = item
            old = known.get((block.key, block.width, block.height, block.channels))
            if old is None:
                decode = decode_picture if block.channels == 3 else decode_mask
                data = decode(scene, frame, (block.width, block.height)).tobytes()
            else:
                data = _read(*old)
            _write(pixels.fileno(), data, block.offset, partial)

        on_threads(place, work, progress)
        os.fsync(pixels.fileno())
    blocks = [asdict(block) for block, _ in work]
    (partial / _INDEX_FILE).write_text(json.dumps({"downscaled": label, "blocks": blocks}), encoding="utf-8")
    partial.rename(folder)
    for old in stale:
        shutil.rmtree(old, ignore_errors=True)


def _known_blocks(stale: list[Path]) -> dict[tuple[str, int, int, int], tuple[Path, Block]]:
    """What older files of this size already hold, by photograph hash and size."""
    known = {}
    for old in stale:
        if not (old / _INDEX_FILE).is_file():
            continue
        for entry in json.loads((old / _INDEX_FILE).read_text(encoding="utf-8"))["blocks"]:
            block = Block(**entry)
            known[block.key, block.width, block.height, block.channels] = (old / PIXELS_FILE, block)
    return known


def _read(path: Path, block: Block) -> bytes:
    with path.open("rb") as file:
        file.seek(block.offset)
        return file.read(block.n_bytes)


def _write(descriptor: int, data: bytes, offset: int, folder: Path) -> None:
    rest = memoryview(data)
    try:
        while rest:
            written = os.pwrite(descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
    except OSError as error:
        raise (StorageUnavailable if is_outage(error) else SceneError)(
            f"decoded pictures cannot be written to {folder} ({error.strerror}); make room there or take a "
            "smaller downscale"
        ) from None

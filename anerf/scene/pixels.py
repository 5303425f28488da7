"""The scene's pictures at one size, decoded once and shared by every process through a memory map."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from anerf.errors import SceneError
from anerf.geometry.cameras import Camera
from anerf.scene.mapped import RESIDENT_BYTES, MappedFile
from anerf.scene.pixel_cache import PIXELS_FILE, Layout, pixels_folder
from anerf.scene.scene import Scene
from anerf.scene.threads import Progress


class PixelStore:
    """Pictures of a scene at one size. `i` counts the scene's frames in their order, not by their ids."""

    def __init__(self, data: MappedFile, cameras: Sequence[Camera], layout: Layout) -> None:
        self._data = data
        self._cameras = tuple(cameras)
        self._pictures, self._masks = layout.pictures, layout.masks
        self._offset = np.array([block.offset for block in self._pictures], dtype=np.int64)
        self._width = np.array([block.width for block in self._pictures], dtype=np.int64)
        self._mask_offset = np.array([block.offset if block else -1 for block in self._masks], dtype=np.int64)

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
        return self._data.part(block.offset, block.n_bytes).reshape(block.height, block.width, 3)

    def mask(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Which pixels of picture `i` may be learned from."""
        width, height = self.size(i)
        block = self._masks[i]
        if block is None:
            return np.broadcast_to(np.True_, (height, width))
        return self._data.part(block.offset, block.n_bytes).reshape(height, width).view(np.bool_)

    def gather(
        self, frame: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n 3"]:
        """Colours of pixels (column `x`, row `y`) of pictures `frame`."""
        first = self._offset[frame] + 3 * (y * self._width[frame] + x)
        return self._data.at(first, 3)

    def gather_mask(
        self, frame: Int[np.ndarray, " n"], x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        """Which of these pixels may be learned from."""
        offset = self._mask_offset[frame]
        masked = offset >= 0
        learn = np.ones(len(offset), np.bool_)
        learn[masked] = self._data.at((offset + y * self._width[frame] + x)[masked], 1)[:, 0] != 0
        return learn


def open_pixels(
    scene: Scene,
    downscale: float,
    progress: Progress | None = None,
    resident_bytes: int = RESIDENT_BYTES,
) -> PixelStore:
    """Opens the scene's pictures at `downscale` (0.25: a quarter of the width), decoding them the first time.

    Of the pictures, about `resident_bytes` stay in this process's memory at most, however many there are.
    Several processes may call this at once: one decodes, the others wait for it. SceneError names a
    photograph that is missing or not as it was when the scene was prepared, and a disk that is too small.
    """
    if not 0 < downscale <= 1:
        raise SceneError(
            f"downscale {downscale} is not possible; give a factor above 0 and up to 1, such as 0.25"
        )
    cameras = [frame.camera.scaled(downscale) for frame in scene.frames]
    layout = Layout.of(scene.frames, cameras)
    with pixels_folder(scene, downscale, layout, progress) as folder:
        data = MappedFile(folder / PIXELS_FILE, layout.n_bytes, resident_bytes)
    return PixelStore(data, cameras, layout)

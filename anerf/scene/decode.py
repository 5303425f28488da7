"""Photographs and masks, decoded at the size of a camera."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from anerf.errors import SceneError
from anerf.scene.frames import Frame
from anerf.scene.photographs import UNREADABLE
from anerf.scene.scene import Scene


def decode_frame(
    scene: Scene, frame: Frame, downscale: float
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """One photograph and which of its pixels count, as a `PixelStore` has them, without the cache."""
    camera = frame.camera.scaled(downscale)
    size = camera.width, camera.height
    picture = decode_picture(scene, frame, size)
    if frame.mask is None:
        return picture, np.ones(picture.shape[:2], np.bool_)
    return picture, decode_mask(scene, frame, size).view(np.bool_)


def box_downscale(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at a smaller size, every new pixel the mean of the pixels whose centres it covers."""
    if picture.width % width == 0 and picture.height % height == 0:
        return picture.reduce((picture.width // width, picture.height // height))
    return picture.resize((width, height), Image.Resampling.BOX)


def decode_picture(scene: Scene, frame: Frame, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph as sRGB bytes, `size` (width, height) pixels; SceneError when it is not as prepared."""
    picture = _open(scene.root / frame.file, frame).convert("RGB")
    return np.asarray(box_downscale(picture, *size))


def decode_mask(scene: Scene, frame: Frame, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """1 where every pixel of the area may be learned from."""
    mask = _open(scene.root / str(frame.mask), frame).convert("L").point([0] + [255] * 255)
    return (np.asarray(box_downscale(mask, *size)) == 255).astype(np.uint8)


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

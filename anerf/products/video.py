"""H.264 videos in MP4, with the colours of the pictures that they are made of."""

import os
import secrets
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8


class VideoWriter:
    """Writes frames to a file that is there when the context is left without an error, and not before.

    Frames are sRGB. They are stored as yuv420p in limited range with BT.709's matrix and primaries and sRGB's
    transfer (IEC 61966-2-1), and say so, in the stream and in the file. The index stands at the file's
    beginning, so that a browser plays it while it loads.
    """

    def __init__(self, file: Path, width: int, height: int, fps: int, crf: int) -> None:
        self._file = file
        self._partial = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        self._container = av.open(
            str(self._partial), "w", format="mp4", options={"movflags": "+faststart+write_colr"}
        )
        self._stream = self._container.add_stream("libx264", rate=fps, options={"crf": str(crf)})
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.IEC61966_2_1
        # The stream's own changes when the file's header is written.
        self._time_base = Fraction(1, fps)
        self._n_frames = 0

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append a frame of the video's size."""
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        yuv = rgb.reformat(
            format="yuv420p",
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=Colorspace.ITU709,
        )
        yuv.pts, yuv.time_base = self._n_frames, self._time_base
        self._n_frames += 1
        for packet in self._stream.encode(yuv):
            self._container.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
            if kind is None:
                self._partial.replace(self._file)
        finally:
            self._partial.unlink(missing_ok=True)


def remove_unfinished(file: Path) -> None:
    """Remove what writers of this video that were killed have left."""
    for left in file.parent.glob(f".{file.name}.*.tmp"):
        left.unlink(missing_ok=True)

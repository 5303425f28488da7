"""Videos decoded again: their frames, in the colours that went in; nothing is left of half a one."""

import av
import numpy as np
import pytest

from anerf.products.video import VideoWriter, remove_unfinished

WIDTH, HEIGHT, FPS = 96, 64, 12
N_FRAMES = 100  # more than the encoder looks ahead
PATCHES = np.array(
    [(200, 40, 30), (30, 160, 60), (40, 60, 210), (235, 235, 225), (12, 12, 16), (128, 128, 128)]
)


def frame(shift: int) -> np.ndarray:
    """Six patches of plain colour, which move."""
    columns = (np.arange(WIDTH) // 16 + shift) % 6
    return np.broadcast_to(PATCHES[columns], (HEIGHT, WIDTH, 3)).astype(np.uint8)


def test_a_video_shows_the_colours_of_its_frames_and_says_how(tmp_path):
    file = tmp_path / "film.mp4"
    with VideoWriter(file, WIDTH, HEIGHT, FPS, crf=12) as video:
        for i in range(N_FRAMES):
            video.write(frame(i // 3))
            assert not file.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]
    with av.open(str(file)) as container:
        (stream,) = container.streams.video
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", FPS)
        # Limited range, BT.709 matrix and primaries, sRGB's transfer.
        told = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
        assert told == (1, 1, 1, 13)
        assert float(stream.duration * stream.time_base) == pytest.approx(N_FRAMES / FPS, abs=1e-3)
        decoded = [image.to_ndarray(format="rgb24") for image in container.decode(stream)]
    assert len(decoded) == N_FRAMES
    assert decoded[0].shape == (HEIGHT, WIDTH, 3)
    for i, shown in enumerate(decoded):
        for patch in range(6):
            middle = np.s_[8:-8, 16 * patch + 5 : 16 * patch + 11]
            difference = shown[middle].mean((0, 1)) - frame(i // 3)[middle].mean((0, 1))
            assert np.abs(difference).max() < 4
    assert 0 < file.read_bytes().index(b"moov") < file.read_bytes().index(b"mdat")


def film(file, n_frames, broken):
    with VideoWriter(file, WIDTH, HEIGHT, FPS, crf=18) as video:
        for i in range(n_frames):
            video.write(frame(i))
        if broken:
            raise RuntimeError


@pytest.mark.parametrize("n_frames", [0, 5, 100])
def test_a_video_that_is_not_finished_leaves_nothing(tmp_path, n_frames):
    with pytest.raises(RuntimeError):
        film(tmp_path / "film.mp4", n_frames, broken=True)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    file = tmp_path / "film.mp4"
    film(file, 1, broken=False)
    killed = VideoWriter(file, WIDTH, HEIGHT, FPS, crf=18)
    for i in range(100):
        killed.write(frame(i))
    assert len(list(tmp_path.iterdir())) == 2
    remove_unfinished(file)
    assert list(tmp_path.iterdir()) == [file]

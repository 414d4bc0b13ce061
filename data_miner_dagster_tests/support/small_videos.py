"""Real tiny videos, made on the spot: one grey level a frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_video(
    path: Path,
    *,
    num_frames: int = 20,
    frame_rate: int = 10,
    size_wh: tuple[int, int] = (64, 48),
    first_level: int = 0,
    faststart: bool = False,
    codec: str = "mpeg4",
    pattern: int | None = None,
) -> Path:
    """Write `num_frames` flat grey frames, each 4 levels lighter than the one before; with `pattern`, moving blocks."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=frame_rate)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            level = (first_level + 4 * number) % 256
            picture = np.full((size_wh[1], size_wh[0], 3), level, np.uint8)
            if pattern is not None:
                blocks = np.random.default_rng(pattern).integers(0, 256, (6, 10), np.uint8)
                blocks = np.roll(blocks, number // 8, axis=1)
                picture = np.repeat(np.kron(blocks, np.ones((16, 16), np.uint8))[:, :, None], 3, axis=2)
                picture = picture[: size_wh[1], : size_wh[0]]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_noise(path: Path, *, seed: int, num_frames: int = 50, size_wh: tuple[int, int] = (160, 120)) -> Path:
    """Write frames of noise, two seconds of 25 a second: much larger than one of its frames is as a JPEG."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 8_000_000
        for _ in range(num_frames):
            picture = random.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_audio(path: Path, *, seconds: int = 1) -> Path:
    """Write silence: a file that opens, without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(seconds * 8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, number * 1000, Fraction(1, 8000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

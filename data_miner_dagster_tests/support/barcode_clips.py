"""Generated clips in which every picture carries its own number, so that a test knows which frame it got."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

NUM_BITS: Final = 12


def barcode_picture(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a (height, width, 3) picture that shows `number` as twelve vertical bars in its upper half.

    The most significant bit comes first, and 1 is white. The lower half is a moving gradient, so that pictures differ
    and codecs have something to compress.
    """
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(NUM_BITS):
        left, right = width * bit // NUM_BITS, width * (bit + 1) // NUM_BITS
        picture[: height // 2, left:right] = 235 if number >> (NUM_BITS - 1 - bit) & 1 else 20
    columns = (np.arange(width) * 3 + number * 5) % 256
    picture[height // 2 :] = columns[None, :, None]
    return picture


def read_barcode(picture: npt.NDArray[np.uint8]) -> int:
    """Return the number that a picture carries, whatever the size at which it was stored."""
    height, width = picture.shape[:2]
    luma = picture[height // 8 : height * 3 // 8].mean(axis=(0, 2) if picture.ndim == 3 else 0)
    number = 0
    for bit in range(NUM_BITS):
        left, right = width * bit // NUM_BITS, width * (bit + 1) // NUM_BITS
        quarter = (right - left) // 4
        number = number << 1 | int(luma[left + quarter : right - quarter].mean() > 128)
    return number


def read_barcode_file(path: Path) -> int:
    """Return the number that an image file carries."""
    with Image.open(path) as image:
        return read_barcode(np.asarray(image.convert("RGB")))


def make_clip(
    path: Path,
    *,
    num_frames: int,
    frame_rate: Fraction = Fraction(30),
    size: tuple[int, int] = (192, 128),
    gop: int = 30,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pictures: Sequence[npt.NDArray[np.uint8]] | None = None,
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
) -> Path:
    """Write a clip whose frame i shows `pictures[i]`, or by default barcode i.

    `pts` has the time of each frame, in units of `time_base`. By default, the frame rate is constant.
    """
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=frame_rate)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        if codec == "libx264":
            stream.options = {"preset": "veryfast", "sc_threshold": "0", "crf": "18", "threads": "1", **(options or {})}
        else:
            stream.options = {"threads": "1", **(options or {})}
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if sample_aspect_ratio is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number in range(num_frames):
            content = pictures[number] if pictures is not None else barcode_picture(number, *size)
            frame = av.VideoFrame.from_ndarray(content, format="rgb24")
            frame.pts = pts[number] if pts is not None else number
            frame.time_base = time_base if time_base is not None else 1 / frame_rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path

"""Pictures against libswscale's own RGB, and against each other."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_all
from data_miner_dagster.media.pictures import as_rgb, encode, picture_of
from data_miner_dagster_tests.barcode_clips import make_clip, read_barcode


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def decoded_file(content: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))


def smooth_photo(height: int = 240, width: int = 320) -> np.ndarray:
    small = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 2))


@pytest.mark.parametrize("colorspace", ["ITU601", "ITU709"])
@pytest.mark.parametrize("color_range", ["MPEG", "JPEG"])
@pytest.mark.parametrize("size", [(320, 240), (321, 241)])
def test_picture_of__planes_carry_the_colours(colorspace: str, color_range: str, size: tuple[int, int]) -> None:
    photo = smooth_photo(size[1], size[0])
    frame = av.VideoFrame.from_ndarray(photo, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=colorspace, dst_color_range=color_range
    )
    frame.colorspace = {"ITU601": 5, "ITU709": 1}[colorspace]
    frame.color_range = {"MPEG": 1, "JPEG": 2}[color_range]
    picture = picture_of(frame)
    assert picture.chroma is not None, "no detour through RGB"
    assert psnr(as_rgb(picture), photo) > 36
    decoded = decoded_file(encode(picture, "jpg", 95))
    assert decoded.shape == photo.shape
    assert psnr(decoded, photo) > 36


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p", "yuv420p10le", "rgb24", "gray", "nv12"])
def test_picture_of__other_formats(pix_fmt: str) -> None:
    photo = smooth_photo()
    if pix_fmt == "gray":
        photo = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = picture_of(av.VideoFrame.from_ndarray(photo, format="rgb24").reformat(format=pix_fmt))
    decoded = decoded_file(encode(picture, "jpg", 95))
    assert psnr(decoded, photo) > 34


def test_picture_of__non_square_pixels() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"), sample_aspect_ratio=Fraction(3, 2))
    assert picture.resolution_wh == (480, 240)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_picture_of__rotation_of_the_container(tmp_path: Path, rotation: int) -> None:
    clip = make_clip(tmp_path / "turned.mp4", num_frames=1, rotation=rotation)
    with open_video(clip) as stream:
        picture = picture_of(next(decode_all(stream, DecodeTally())))
    assert picture.resolution_wh == ((128, 192) if rotation % 180 else (192, 128))
    # Turned back clockwise by what the container asks to turn counter-clockwise, it can be read.
    assert read_barcode(np.rot90(as_rgb(picture), -rotation // 90)) == 0


def test_encode__png_is_lossless() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"))
    decoded = decoded_file(encode(picture, "png", 1))
    assert np.array_equal(decoded, smooth_photo())


def test_encode__webp() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"))
    decoded = decoded_file(encode(picture, "webp", 90))
    assert psnr(decoded, smooth_photo()) > 34

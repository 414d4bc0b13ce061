"""Tests that compare pictures with libswscale's RGB and with each other."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from skimage import data

from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_all
from data_miner_dagster.media.pictures import as_rgb, encode, picture_of
from data_miner_dagster_tests.support.barcode_clips import make_clip, read_barcode


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


ONE = 1 << 16
QUARTERS = {"R": (200, 40, 40), "G": (40, 180, 60), "B": (40, 60, 200), "Y": (220, 210, 60)}


def quarters() -> np.ndarray:
    """Return a picture with red and green above blue and yellow."""
    picture = np.zeros((128, 192, 3), np.uint8)
    picture[:64, :96], picture[:64, 96:], picture[64:, :96], picture[64:, 96:] = QUARTERS.values()
    return picture


def read_quarters(picture: np.ndarray) -> str:
    """Return the letters of the quarters, from left to right and top to bottom."""
    height, width = picture.shape[:2]
    spots = [picture[y, x].astype(int) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return "".join(min(QUARTERS, key=lambda name: int(np.abs(spot - QUARTERS[name]).max())) for spot in spots)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-ONE, 0, 0, 0, ONE, 0, 192 * ONE, 0, 1 << 30), "GRYB"),
        ((ONE, 0, 0, 0, -ONE, 0, 0, 128 * ONE, 1 << 30), "BYRG"),
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), "RBGY"),
        ((0, -ONE, 0, -ONE, 0, 0, 128 * ONE, 192 * ONE, 1 << 30), "YGBR"),
        ((-ONE, 0, 0, 0, -ONE, 0, 192 * ONE, 128 * ONE, 1 << 30), "YBGR"),
        ((0, ONE, 0, -ONE, 0, 0, 128 * ONE, 0, 1 << 30), "BRYG"),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), "RGBY"),
    ],
    ids=["mirrored", "flipped", "transposed", "transposed and turned", "half", "quarter", "none"],
)
def test_picture_of__matrix_of_the_container(matrix: tuple[int, ...], expected: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", num_frames=1, pictures=[quarters()], matrix=matrix)
    with open_video(clip) as stream:
        seen = as_rgb(picture_of(next(decode_all(stream, DecodeTally()))))
    assert read_quarters(seen) == expected
    if any(matrix):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clip), str(tmp_path / "a.png")]
        subprocess.run(command, check=True)
        assert read_quarters(np.asarray(Image.open(tmp_path / "a.png"))) == expected


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(
    ("colorspace", "red", "blue"),
    [(1, 0.2126, 0.0722), (9, 0.2627, 0.0593), (7, 0.212, 0.087), (5, 0.299, 0.114), (2, 0.299, 0.114)],
    ids=["BT.709", "BT.2020", "SMPTE 240M", "BT.601", "untagged"],
)
def test_picture_of__matrix_of_the_colours(pix_fmt: str, colorspace: int, red: float, blue: float) -> None:
    rgb = quarters().astype(np.float64) / 255
    luma = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    depth = 10 if pix_fmt.endswith("10le") else 8
    halved = slice(None, None, 2 if "420" in pix_fmt else 1)
    planes = [219 * luma + 16, (224 * cb + 128)[halved, halved], (224 * cr + 128)[halved, halved]]
    frame = frame_of(pix_fmt, [np.rint(plane * 2 ** (depth - 8)) for plane in planes])
    frame.colorspace, frame.color_range = colorspace, 1
    seen = as_rgb(picture_of(frame)).astype(int)
    assert np.abs(seen - quarters())[16:-16:32, 24:-24:48].max() <= 3


def frame_of(pix_fmt: str, planes: list[np.ndarray]) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        stored = values.astype(np.uint8 if plane.line_size < 2 * values.shape[1] else np.uint16)
        lines = np.zeros((len(stored), plane.line_size), np.uint8)
        lines[:, : stored.itemsize * stored.shape[1]] = stored.view(np.uint8).reshape(len(stored), -1)
        plane.update(lines.tobytes())
    return frame


def pq_code(nits: float) -> float:
    """Return the PQ code value of a luminance (SMPTE ST 2084)."""
    power = (nits / 10000) ** (2610 / 16384)
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


@pytest.mark.parametrize(
    ("transfer", "codes", "expected_grey"),
    [
        (16, [pq_code(nits) for nits in (0.0, 36.5, 203, 1000, 4000)], 117),  # sRGB of 36.5 / 203
        (18, [0.0, 0.38, 0.75, 1.0, 1.0], 100),  # ITU-R BT.2408, table 1: grey card at 26 cd/m2, paper white at 203
    ],
    ids=["PQ", "HLG"],
)
def test_picture_of__high_range(transfer: int, codes: list[float], expected_grey: int) -> None:
    luma = np.repeat([[64 + 876 * code for code in codes]], 64, axis=0).repeat(64, axis=1)
    chroma = np.full((32, luma.shape[1] // 2), 512.0)
    frame = frame_of("yuv420p10le", [np.rint(luma), chroma, chroma])
    frame.colorspace, frame.color_trc, frame.color_primaries, frame.color_range = 9, transfer, 9, 1
    rgb = as_rgb(picture_of(frame))[32, 32::64].astype(int)
    assert np.ptp(rgb, axis=1).max() <= 1, "grey stays grey"
    black, grey_card, paper_white, bright, brightest = rgb[:, 1].tolist()
    assert black <= 1
    assert grey_card == pytest.approx(expected_grey, abs=2)
    assert 235 <= paper_white <= 250
    assert paper_white < bright <= brightest <= 255


def test_picture_of__non_square_pixels() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"), sample_aspect_ratio=Fraction(3, 2))
    assert picture.resolution_wh == (480, 240)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_picture_of__rotation_of_the_container(tmp_path: Path, rotation: int) -> None:
    clip = make_clip(tmp_path / "turned.mp4", num_frames=1, rotation=rotation)
    with open_video(clip) as stream:
        picture = picture_of(next(decode_all(stream, DecodeTally())))
    assert picture.resolution_wh == ((128, 192) if rotation % 180 else (192, 128))
    # The container asks for a counter-clockwise rotation. Turned back clockwise, the barcode can be read.
    assert read_barcode(np.rot90(as_rgb(picture), -rotation // 90)) == 0


def test_encode__png_is_lossless() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"))
    decoded = decoded_file(encode(picture, "png", 1))
    assert np.array_equal(decoded, smooth_photo())


def test_encode__webp() -> None:
    picture = picture_of(av.VideoFrame.from_ndarray(smooth_photo(), format="rgb24"))
    decoded = decoded_file(encode(picture, "webp", 90))
    assert psnr(decoded, smooth_photo()) > 34

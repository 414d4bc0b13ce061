"""Tests that every reader sees the same in the stored files of pictures from phones, cameras and strangers."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.foreign_pictures import see_picture, small_picture, take_picture
from data_miner_dagster.media.images import decode_image, read_stored_image

ROWS, COLUMNS = np.mgrid[0:120, 0:160]
GREY = ((np.sin(COLUMNS / 9) + np.cos(ROWS / 7)) * 55 + 120).astype(np.uint8)
PIXELS = np.dstack([GREY, np.roll(GREY, 9, 0), np.roll(GREY, 9, 1)])
PHOTO = Image.fromarray(PIXELS)
LIMITS = {"max_pixels": 10**6, "quality": 92}
EXACT, LOSSY = 0.0, 3.0


def coded(image: Image.Image, form: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def half_clear() -> Image.Image:
    """Return a picture whose upper half is transparent, with red hidden under it."""
    pixels = np.dstack([PIXELS, np.full(GREY.shape, 255, np.uint8)])
    pixels[:60] = (255, 0, 0, 0)
    return Image.fromarray(pixels)


def on_white() -> RgbImage:
    pixels = PIXELS.copy()
    pixels[:60] = 255
    return pixels


def grey() -> RgbImage:
    return np.dstack([GREY] * 3)


def png_of_16_bits(channels: RgbImage) -> bytes:
    return bytes(cv2.imencode(".png", channels.astype(np.uint16) * 257)[1])


KEPT: dict[str, tuple[Callable[[], bytes], RgbImage, float]] = {
    "JPEG": (lambda: coded(PHOTO, "JPEG", quality=97), PIXELS, LOSSY),
    "grey JPEG": (lambda: coded(Image.fromarray(GREY), "JPEG", quality=97), grey(), LOSSY),
    "JPEG with a second picture": (
        lambda: coded(PHOTO, "MPO", quality=97, save_all=True, append_images=[PHOTO.resize((80, 60))]),
        PIXELS,
        LOSSY,
    ),
    "PNG": (lambda: coded(PHOTO, "PNG"), PIXELS, EXACT),
    "grey PNG": (lambda: coded(Image.fromarray(GREY), "PNG"), grey(), EXACT),
    "palette": (lambda: coded(PHOTO.quantize(64), "PNG"), np.asarray(PHOTO.quantize(64).convert("RGB")), EXACT),
    "opaque alpha": (lambda: coded(PHOTO.convert("RGBA"), "PNG"), PIXELS, EXACT),
    "16 bit colour": (lambda: png_of_16_bits(PIXELS[..., ::-1]), PIXELS, EXACT),
    "WebP": (lambda: coded(PHOTO, "WEBP", lossless=True), PIXELS, EXACT),
}
STORED_ANEW: dict[str, tuple[Callable[[], bytes], RgbImage, float, str]] = {
    "16 bit grey": (lambda: png_of_16_bits(GREY), grey(), EXACT, "png"),
    "transparent PNG": (lambda: coded(half_clear(), "PNG"), on_white(), EXACT, "png"),
    "transparent WebP": (lambda: coded(half_clear(), "WEBP", lossless=True), on_white(), EXACT, "png"),
    "CMYK": (lambda: coded(PHOTO.convert("CMYK"), "JPEG", quality=97), PIXELS, LOSSY, "jpg"),
    "BMP": (lambda: coded(PHOTO, "BMP"), PIXELS, EXACT, "png"),
    "GIF": (lambda: coded(PHOTO.quantize(64), "GIF"), np.asarray(PHOTO.quantize(64).convert("RGB")), EXACT, "png"),
    "moving PNG": (
        lambda: coded(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(180)]),
        PIXELS,
        EXACT,
        "png",
    ),
}


def differs_by(one: RgbImage, other: RgbImage) -> float:
    return float(np.abs(one.astype(int) - other).mean()) if one.shape == other.shape else 255.0


def seen_by_all(content: bytes, extension: str, folder: Path) -> RgbImage:
    """Return a file's pixels, after checking that Pillow, OpenCV and this package's readers see the same pixels."""
    path = folder / f"picture.{extension}"
    path.write_bytes(content)
    ours = read_stored_image(path, hashlib.sha256(content).hexdigest())
    with Image.open(path) as image:
        assert differs_by(np.asarray(image.convert("RGB")), ours) == 0
    assert differs_by(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)), ours) == 0
    seen = small_picture(path, (10_000, 10_000))
    assert seen.full_wh == (ours.shape[1], ours.shape[0])
    assert differs_by(seen.rgb, ours) == 0
    return ours


@pytest.mark.parametrize("name", list(KEPT))
def test_take_picture__bytes_are_kept(name: str, tmp_path: Path) -> None:
    make, expected, most = KEPT[name]
    content = make()
    taken = take_picture(content, **LIMITS)
    assert taken.content == content
    assert differs_by(taken.rgb, expected) <= most
    assert differs_by(taken.rgb, seen_by_all(taken.content, taken.extension, tmp_path)) == 0


@pytest.mark.parametrize("name", list(STORED_ANEW))
def test_take_picture__stored_anew(name: str, tmp_path: Path) -> None:
    make, expected, most, extension = STORED_ANEW[name]
    taken = take_picture(make(), **LIMITS)
    assert taken.extension == extension
    assert differs_by(taken.rgb, expected) <= most
    assert differs_by(taken.rgb, seen_by_all(taken.content, taken.extension, tmp_path)) == 0
    assert take_picture(make(), **LIMITS).content == taken.content


TURNS = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.swapaxes(0, 1),
    6: np.rot90(PIXELS, -1),
    7: PIXELS.swapaxes(0, 1)[::-1, ::-1],
    8: np.rot90(PIXELS),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", list(TURNS))
def test_take_picture__orientation(orientation: int, form: str, tmp_path: Path) -> None:
    content = coded(PHOTO, form, exif=turned(orientation), quality=97, **({"lossless": True} if form == "WEBP" else {}))
    path = tmp_path / "as_it_came"
    path.write_bytes(content)
    taken = take_picture(content, **LIMITS)
    assert (taken.content == content) == (orientation == 1)
    assert differs_by(taken.rgb, TURNS[orientation]) <= LOSSY
    seen = small_picture(path)
    assert seen.full_wh == (taken.rgb.shape[1], taken.rgb.shape[0])
    assert differs_by(seen.rgb, taken.rgb) <= LOSSY
    assert differs_by(taken.rgb, seen_by_all(taken.content, taken.extension, tmp_path)) == 0


def bomb(width: int, height: int) -> bytes:
    """Return a PNG with one bit per pixel whose header states this size, but which contains only a kilobyte of data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1_000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "not a JPEG, PNG, WebP, GIF or BMP"),
        (coded(PHOTO, "TIFF"), "not a JPEG, PNG, WebP, GIF or BMP"),
        (coded(PHOTO, "JPEG")[:900], "damaged"),
        (coded(PHOTO, "JPEG")[:-600], "damaged"),
        (coded(PHOTO, "PNG")[:-600], "damaged"),
        (coded(PHOTO, "WEBP")[:-600], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged"),
        (bomb(40_000, 40_000), "40000x40000 pixels, more than the limit of 1,000,000"),
        (bomb(2**31 - 1, 2**31 - 1), "more than the limit of 1,000,000"),
        (b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\x03\xff\xff\x03", "262144x262144 pixels, more than"),
        (
            b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"," + struct.pack("<4HB", 0, 0, 60_000, 60_000, 0),
            "more pixels than the decoder allows",
        ),
        (
            b"GIF89a"
            + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
            + b","
            + struct.pack("<4HB", 0, 0, 60_000, 60_000, 0)
            + b"\x02\x02\x4c\x01\0;",
            "60000x60000 pixels, more than",
        ),
        (coded(PHOTO.resize((1200, 1000)), "JPEG"), "1200x1000 pixels, more than the limit of 1,000,000"),
    ],
)
def test_take_picture__left_out(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        take_picture(content, **LIMITS)
    with pytest.raises(UnreadableImageError, match=reason):
        see_picture(content, max_pixels=10**6)


def test_small_picture__the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(UnreadableImageError, match=r"the image file .*a\.jpg is missing"):
        small_picture(path)
    with pytest.raises(UnreadableImageError, match=r" cannot be read \(Is a directory\); check the path"):
        small_picture(tmp_path)
    path.write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError, match=r"a\.jpg cannot be decoded \(the picture is not a JPEG"):
        small_picture(path)


def test_small_picture__jpeg_is_reduced_while_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(coded(PHOTO.resize((1600, 1200)), "JPEG", exif=turned(6)))
    seen = small_picture(path, (240, 135))
    assert seen.rgb.shape == (400, 300, 3)
    assert seen.full_wh == (1200, 1600)


def test_take_picture__bytes_that_not_every_reader_takes_are_stored_anew() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    assert content[37:41] == b"IDAT"
    content[36] ^= 0x5A  # the low byte of the chunk's length: Pillow decodes the picture, OpenCV does not
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(content), Path("damaged.png"))
    taken = take_picture(bytes(content), max_pixels=10_000, quality=90)
    assert taken.content != bytes(content)
    assert np.array_equal(decode_image(taken.content, Path("taken.png")), taken.rgb)

"""Decode untrusted pictures, and convert them to files that every reader interprets alike.

Readers differ in how they handle orientation tags, transparency, 16-bit grey and CMYK. Pictures with any of these are
re-encoded, so that code which reads stored pictures need not handle them.

Errors about a picture that is given as bytes state only the fault. The caller adds the name of the file.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import RgbImage, SeenPicture
from data_miner_dagster.media.images import decode_image

_JPEG_START: Final = b"\xff\xd8\xff"
_READERS: Final = (
    # The plug-ins are named because ultralytics replaces Image.open with a function that may install packages.
    (_JPEG_START, JpegImageFile),  # only the first of several pictures in one file (MPO)
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"RIFF", WebPImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
)
_EXTENSIONS: Final = {JpegImageFile: "jpg", PngImageFile: "png", WebPImageFile: "webp"}
"""The file extensions of formats that may be stored unchanged."""
_DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""The exceptions that Pillow raises for files that are damaged or not pictures."""
_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpositions that turn pictures upright, by Exif orientation. Source: CIPA DC-008 (Exif 3.0), 4.6.5.1.6."""
_ON_ITS_SIDE: Final = frozenset({5, 6, 7, 8})
_MOST_PIXELS_SHOWN: Final = 1 << 28
"""The maximum number of pixels of a picture in a sheet or page. `platform.extraction.limits.max_pixels`, which may be
higher, limits stored pictures."""
_SHALLOW_MODES: Final = frozenset({"1", "L", "P", "RGB"})
_DEEP_GREYS: Final = ("I;16", "I;16L", "I;16B")
_WHITE: Final = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class TakenPicture:
    """A picture that is upright, 8-bit and without transparency.

    `content` is a file that shows exactly this picture.
    """

    content: bytes
    extension: str  # jpg, png or webp
    rgb: RgbImage


def take_picture(content: bytes, *, max_pixels: int, quality: int) -> TakenPicture:
    """Return the picture in a foreign JPEG (MPO), PNG, WebP, GIF or BMP. The same input yields the same bytes.

    Only the first of several pictures is used. The bytes of a JPEG, PNG or WebP are kept if every reader interprets
    them alike. Otherwise, a JPEG is re-encoded as a JPEG of `quality`, and any other picture losslessly as a PNG.
    Transparency is composited on white; 16-bit grey keeps its upper eight bits; CMYK becomes RGB.

    Raises:
        UnreadableImageError: `content` is empty, damaged, not a picture in one of these formats or larger than
            `max_pixels`, or decoding it needs more memory than is available. The message says which.
    """
    image, is_as_it_is, _ = _decoded(content, max_pixels)
    rgb = np.ascontiguousarray(image, np.uint8)
    extension = _EXTENSIONS.get(_reader_of(content))
    if is_as_it_is and extension is not None and _is_read_alike(content, rgb):
        return TakenPicture(content, extension, rgb)
    if extension == "jpg":
        jpeg = bytes(simplejpeg.encode_jpeg(rgb, quality, "RGB", "420"))
        return TakenPicture(jpeg, "jpg", decode_image(jpeg, Path("a JPEG of our own")))
    _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return TakenPicture(png.tobytes(), "png", rgb)


def _is_read_alike(content: bytes, rgb: RgbImage) -> bool:
    """Return whether the reader of stored images decodes the bytes to a picture of the size of `rgb`."""
    try:
        return decode_image(content, Path("a picture from outside")).shape == rgb.shape
    except UnreadableImageError:
        return False


def see_picture(content: bytes, *, max_pixels: int) -> RgbImage:
    """Return a foreign picture as upright 8-bit RGB, as `take_picture` converts it, without encoding a file.

    Raises:
        UnreadableImageError: `content` is empty, damaged, not a JPEG, PNG, WebP, GIF or BMP, or larger than
            `max_pixels`, or decoding it needs more memory than is available.
    """
    return np.asarray(_decoded(content, max_pixels)[0], np.uint8)


def small_picture(path: Path, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
    """Return the picture in a foreign file as upright 8-bit RGB, as `take_picture` converts it, and its full size.

    A JPEG is reduced to 1/2, 1/4 or 1/8 if the result is still at least as large as `at_least_wh`. If that is None, the
    full size is kept.

    Raises:
        UnreadableImageError: the file is missing, unreadable, empty, damaged, not a JPEG, PNG, WebP, GIF or BMP, or
            larger than 2^28 pixels, or decoding it needs more memory than is available.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError(f"the image file {path} is missing") from error
    except OSError as error:
        raise UnreadableImageError(
            f"{path} cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from error
    try:
        image, _, full_wh = _decoded(content, _MOST_PIXELS_SHOWN, at_least_wh)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{path} cannot be decoded ({error})") from error
    return SeenPicture(np.asarray(image, np.uint8), full_wh)


def _reader_of(content: bytes) -> type[ImageFile]:
    for start, reader in _READERS:
        if content.startswith(start):
            return reader
    raise UnreadableImageError(
        "the picture is not a JPEG, PNG, WebP, GIF or BMP" if content else "the picture's file is empty"
    )


def _decoded(
    content: bytes, max_pixels: int, at_least_wh: tuple[int, int] | None = None
) -> tuple[Image.Image, bool, tuple[int, int]]:
    """Return an (upright RGB picture, whether every reader shows the file in this way, full upright size) tuple.

    A JPEG may be reduced, but not below `at_least_wh`.
    """
    try:
        with _opened(content, max_pixels) as image:
            full_wh = image.size
            if at_least_wh is not None:
                image.draft("RGB", at_least_wh)
            image.load()
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
            turn = _TURNS.get(orientation)
            if orientation in _ON_ITS_SIDE:
                full_wh = full_wh[1], full_wh[0]
            shown, is_same = _shallow(image)
            is_same = is_same and turn is None and getattr(image, "n_frames", 1) == 1
            return (shown if turn is None else shown.transpose(turn)), is_same, full_wh
    except UnreadableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # from an inner frame
        raise UnreadableImageError("a frame inside the picture has more pixels than the decoder allows") from error
    except MemoryError as error:
        raise UnreadableImageError("the picture needs more memory than is available") from error
    except _DAMAGED as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"the picture is damaged ({why})") from error


def _opened(content: bytes, max_pixels: int) -> ImageFile:
    reader = _reader_of(content)
    if reader is WebPImageFile:  # allocates its pixels on opening
        _check_size(_webp_size_wh(content), max_pixels)
    image = reader(io.BytesIO(content))
    _check_size(image.size, max_pixels)
    return image


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    if size_wh[0] * size_wh[1] > max_pixels:
        raise UnreadableImageError(
            f"the picture has {size_wh[0]}x{size_wh[1]} pixels, more than the limit of {max_pixels:,}"
        )


def _webp_size_wh(content: bytes) -> tuple[int, int]:
    """Return the width and height in a WebP's first chunk, or (0, 0) if it has none. Source: RFC 9649, 2.5 to 2.7."""
    kind, head = content[12:16], content[20:30]
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return 0, 0


def _shallow(image: ImageFile) -> tuple[Image.Image, bool]:
    """Return the picture in 8-bit RGB, and whether every reader shows the file in this way."""
    if image.mode in _DEEP_GREYS:
        high = np.asarray(image, np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB"), False
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), clear).convert("RGB"), False
    return image.convert("RGB"), image.mode in _SHALLOW_MODES or image.mode in ("RGBA", "LA")

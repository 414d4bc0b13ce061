"""Decode stored images after verifying their checksums. Untrusted images belong in `foreign_pictures.py`.

An error names the file and its fault. The caller adds the consequence and the remedy.
"""

import hashlib
import io
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import RgbImage

REDUCTION_MARGIN: Final = 1.4
"""The minimum ratio of the reduced image's size to the target size. At lower ratios, the decoder's filter alone would
determine the result. docs/models.md shows the effect on vectors."""
_REDUCTIONS: Final = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


def read_stored_image(path: Path, sha256: str) -> RgbImage:
    """Return an image at full size, in RGB, after verifying its bytes against the checksum.

    A JPEG decoder shows half a file as half a picture, so only the checksum detects damage. Thread-safe.

    Raises:
        OSError: the file exists, but cannot be read.
        UnreadableImageError: the file is missing, its bytes do not match `sha256`, or it is not an image.
    """
    return decode_image(_checked_content(path, sha256), path)


def _checked_content(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError(f"the image file {path} is missing") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UnreadableImageError(f"{path} has changed since it was stored (its sha256 differs)")
    return content


def read_stored_image_reduced(path: Path, sha256: str, min_side: int) -> RgbImage:
    """Return a stored image like `read_stored_image`, but reduced to 1/2, 1/4 or 1/8 if it is a large JPEG.

    A JPEG is reduced by decoding fewer coefficients of each block, which takes a fraction of the time.
    Both sides stay at or above `REDUCTION_MARGIN` times `min_side`, so that the final resize still averages over
    pixels. Results computed from the image then hardly differ from those of the full image.

    Raises:
        OSError: the file exists, but cannot be read.
        UnreadableImageError: the file is missing, its bytes do not match `sha256`, or it is not an image.
    """
    content = _checked_content(path, sha256)
    flags = cv2.IMREAD_COLOR
    try:
        # Not Image.open, which ultralytics replaces with a function that may install packages.
        shorter = min(JpegImageFile(io.BytesIO(content)).size)  # reads the header only
    except (SyntaxError, OSError):
        shorter = 0  # not a JPEG: decoded at full size, if it is an image at all
    for divisor, reduced in _REDUCTIONS:
        if shorter // divisor >= REDUCTION_MARGIN * min_side:
            flags = reduced
            break
    return decode_image(content, path, flags)


def decode_image(content: bytes, path: Path, flags: int = cv2.IMREAD_COLOR) -> RgbImage:
    """Return the image in `content` without applying its orientation tag. `path` is used only in the message.

    Raises:
        UnreadableImageError: `content` cannot be decoded as an image.
    """
    flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:  # more pixels than OpenCV accepts, or not enough memory
        raise UnreadableImageError(f"{path} cannot be decoded ({' '.join(str(error).split())})") from error
    if decoded is None:
        raise UnreadableImageError(f"{path} cannot be decoded as an image")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)

"""Stored images to arrays, checked against what was stored."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from data_miner_dagster.domain.records import RgbImage


class UnreadableImageError(ValueError):
    """A stored image is missing, damaged or no image; the message names the file and what is wrong with it."""


def read_stored_image(path: Path, sha256: str) -> RgbImage:
    """Return the image at full size, in RGB, after making sure that its bytes are those that were stored.

    A JPEG decoder shows half a file as half a picture: only the checksum tells. Thread-safe.

    Raises:
        UnreadableImageError: the file is missing, its bytes differ, or it is no image.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{path} is missing") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UnreadableImageError(f"{path} is not the file that was stored: its sha256 differs")
    return decode_image(content, path)


def read_image(path: Path) -> RgbImage:
    """Return any image file at full size, in RGB. Thread-safe.

    Raises:
        UnreadableImageError: the file is missing or no image.
    """
    try:
        return decode_image(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{path} is missing") from error


def decode_image(content: bytes, path: Path) -> RgbImage:
    """Return the image in `content`; `path` is for the message.

    Raises:
        UnreadableImageError: it is no image that can be decoded.
    """
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if decoded is None:
        raise UnreadableImageError(f"{path} is no image that can be decoded")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)

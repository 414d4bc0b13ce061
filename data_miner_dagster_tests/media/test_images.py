import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_read_stored_image__bytes_must_be_those_that_were_stored(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    content = png((9, 9, 9))
    path.write_bytes(content)
    assert read_stored_image(path, hashlib.sha256(content).hexdigest()).shape == (3, 5, 3)
    with pytest.raises(UnreadableImageError, match="its sha256 differs"):
        read_stored_image(path, "0" * 64)
    with pytest.raises(UnreadableImageError, match="is missing"):
        read_stored_image(tmp_path / "missing.png", "0" * 64)


@pytest.fixture
def large_photo(tmp_path: Path) -> tuple[Path, str]:
    """Write a smooth picture of 1920 x 1080 pixels, and return its path and sha256."""
    rows, columns = np.mgrid[0:1080, 0:1920]
    waves = np.stack([127 + 120 * np.sin(rows / 90), 127 + 120 * np.cos(columns / 70), (rows + columns) / 12], axis=-1)
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), waves.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("min_side", "shape"),
    [(1000, (1080, 1920, 3)), (386, (1080, 1920, 3)), (385, (540, 960, 3)), (100, (270, 480, 3)), (8, (135, 240, 3))],
)
def test_read_stored_image_reduced__never_below_the_margin_over_the_side_asked(
    large_photo: tuple[Path, str], min_side: int, shape: tuple[int, int, int]
) -> None:
    assert read_stored_image_reduced(*large_photo, min_side).shape == shape


def test_read_stored_image_reduced__is_the_same_picture(large_photo: tuple[Path, str]) -> None:
    full = cv2.resize(read_stored_image(*large_photo), (240, 135), interpolation=cv2.INTER_AREA)
    reduced = cv2.resize(read_stored_image_reduced(*large_photo, 100), (240, 135), interpolation=cv2.INTER_AREA)
    assert np.abs(full.astype(np.int16) - reduced).mean() < 1.5


def test_read_stored_image_reduced__damaged_missing_and_no_picture(
    large_photo: tuple[Path, str], tmp_path: Path
) -> None:
    path, sha256 = large_photo
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnreadableImageError, match="sha256 differs"):
        read_stored_image_reduced(path, sha256, 8)
    with pytest.raises(UnreadableImageError, match="missing"):
        read_stored_image_reduced(tmp_path / "none.jpg", sha256, 8)
    path.write_bytes(b"<html>")
    with pytest.raises(UnreadableImageError, match="cannot be decoded as an image"):
        read_stored_image_reduced(path, hashlib.sha256(b"<html>").hexdigest(), 8)

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from data_miner_dagster.media.images import UnreadableImageError, read_image, read_stored_image


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_read_image__rgb_at_full_size(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(png((255, 1, 2)))
    image = read_image(path)
    assert image.shape == (3, 5, 3)
    assert image[0, 0].tolist() == [255, 1, 2]


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_read_image__no_image(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="no image that can be decoded"):
        read_image(path)
    with pytest.raises(UnreadableImageError, match="is missing"):
        read_image(tmp_path / "missing.jpg")


def test_read_stored_image__bytes_must_be_those_that_were_stored(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    content = png((9, 9, 9))
    path.write_bytes(content)
    assert read_stored_image(path, hashlib.sha256(content).hexdigest()).shape == (3, 5, 3)
    with pytest.raises(UnreadableImageError, match="its sha256 differs"):
        read_stored_image(path, "0" * 64)
    with pytest.raises(UnreadableImageError, match="is missing"):
        read_stored_image(tmp_path / "missing.png", "0" * 64)

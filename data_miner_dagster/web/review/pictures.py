"""The pictures of the review pages: frames by video key and index, at full or small size.

At full size, frames that extraction encoded as JPEG are sent as stored, after comparing their bytes with the checksum
in the table of frames. All other pictures are encoded as JPEG. Untrusted pictures
(operations/foreign/stored_pictures.py) are decoded by workers, and are never sent unchanged. No path is built from the
text of an address: storage/layout.py checks the key, and the table provides the file name.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2

from data_miner_dagster.domain.errors import ConfigError, DataMinerError, UnreadableImageError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import FrameImage, frames_table_of, read_frame_images
from data_miner_dagster.storage.layout import StorageLayout

SMALL_SIDE: Final = 320
"""The longer side of a small picture, in pixels."""
_SHOWN_SIDE: Final = 1280
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_SUFFIX: Final = ".jpg"
_QUALITY: Final = 88
_SMALL_QUALITY: Final = 80
_MOST_CACHED_BYTES: Final = 48_000_000
_MOST_CACHED_TABLES: Final = 16


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A JPEG with the checksum of the stored picture that it shows."""

    content: bytes
    sha256: str


class _Cache:
    """A thread-safe cache of the most recently sent pictures, limited in bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._num_bytes = 0
        self._contents: OrderedDict[tuple[str, bool], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, bool], make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if (known := self._contents.get(key)) is not None:
                self._contents.move_to_end(key)
                return known
        content = make()
        with self._lock:
            if key not in self._contents:
                self._contents[key] = content
                self._num_bytes += len(content)
            while self._num_bytes > self._most_bytes:
                self._num_bytes -= len(self._contents.popitem(last=False)[1])
        return content


class _FrameTables:
    """A cache of the frame tables of the most recently requested videos. A table that has changed is read again."""

    def __init__(self, layout: StorageLayout) -> None:
        self._layout = layout
        self._tables: OrderedDict[str, tuple[int, Mapping[int, FrameImage]]] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, video_key: str, frame_index: int) -> FrameImage | None:
        try:
            written_at = frames_table_of(self._layout, video_key).stat().st_mtime_ns
        except (ConfigError, OSError):
            return None
        with self._lock:
            known = self._tables.get(video_key)
        if known is None or known[0] != written_at:
            try:
                known = written_at, read_frame_images(self._layout, video_key)
            except (FileNotFoundError, DataMinerError):
                return None  # removed or damaged; work on the video recreates it
        with self._lock:
            self._tables[video_key] = known
            self._tables.move_to_end(video_key)
            while len(self._tables) > _MOST_CACHED_TABLES:
                self._tables.popitem(last=False)
        return known[1].get(frame_index)


class FramePictures:
    """A thread-safe source of pictures for the browser. Workers are started only for untrusted pictures."""

    def __init__(self, platform: Platform) -> None:
        self._tables = _FrameTables(platform.layout)
        self._pictures = StoredPictures(platform.config.extraction)
        self._cache = _Cache(_MOST_CACHED_BYTES)

    def close(self) -> None:
        """End the workers."""
        self._pictures.close()

    def picture(self, video_key: str, frame_index: int, *, is_small: bool) -> EncodedPicture | None:
        """Return the picture of a frame, with a longer side of at most `SMALL_SIDE` pixels if `is_small`.

        At full size, an untrusted picture, or a frame that is not stored as a JPEG, is limited to 1280 pixels instead.
        Return None if the frame does not exist, or if its file is missing or damaged.
        """
        image = self._tables.image(video_key, frame_index)
        if image is None:
            return None
        try:
            if not is_small and not image.file.is_foreign and image.file.path.suffix == _JPEG_SUFFIX:
                return EncodedPicture(_stored_jpeg(image), image.sha256)
            make = self._small if is_small else self._shown
            return EncodedPicture(self._cache.get((image.sha256, is_small), lambda: make(image)), image.sha256)
        except UnreadableImageError:
            return None

    def _small(self, image: FrameImage) -> bytes:
        seen = self._pictures.read_reduced(image.file, image.sha256, SMALL_SIDE // 2)
        return _encoded(seen, SMALL_SIDE, _SMALL_QUALITY)

    def _shown(self, image: FrameImage) -> bytes:
        return _encoded(self._pictures.read(image.file, image.sha256), _SHOWN_SIDE, _QUALITY)


def _stored_jpeg(image: FrameImage) -> bytes:
    try:
        content = image.file.path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(
            f"{image.file.path} cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    if not content.startswith(_JPEG) or hashlib.sha256(content).hexdigest() != image.sha256:
        raise UnreadableImageError(
            f"{image.file.path} has changed since it was stored, or is not a JPEG; run `data-miner doctor --fix`"
        )
    return content


def _encoded(rgb: RgbImage, longest_side: int, quality: int) -> bytes:
    height, width = rgb.shape[:2]
    scale = min(1.0, longest_side / max(width, height))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    is_encoded, content = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not is_encoded:
        raise UnreadableImageError(f"a picture of {width} x {height} pixels cannot be encoded as a JPEG")
    return content.tobytes()

"""The one way to the pictures that are kept in files: who wrote their bytes decides where they are decoded.

Frames of video files were encoded here, and are decoded in this process. The pictures of a folder keep the bytes that
somebody else gave them, and so do pictures that a user names: worker processes decode them, within limits.
"""

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.records import PictureFile, RgbImage, SeenPicture
from data_miner_dagster.media.foreign_pictures import small_picture
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced
from data_miner_dagster.operations.foreign.media_workers import picture_workers


class StoredPictures:
    """Reads pictures from files. Safe to share by threads; no worker starts before a foreign picture is asked for."""

    def __init__(self, config: ExtractionConfig) -> None:
        self._workers = picture_workers(config)

    def __enter__(self) -> "StoredPictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._workers.close()

    @property
    def process_ids(self) -> list[int]:
        """The workers that there are now."""
        return self._workers.process_ids

    def read(self, file: PictureFile, sha256: str) -> RgbImage:
        """Return a stored image at full size, after making sure that its bytes are those that were stored.

        Raises:
            UnreadableImageError: the file is missing, its bytes differ, it is no image, or costs too much to decode.
        """
        if file.is_foreign:
            return self._workers.read_stored(file.path, sha256)
        return read_stored_image(file.path, sha256)

    def read_reduced(self, file: PictureFile, sha256: str, min_side: int) -> RgbImage:
        """Return the same, but at a half, quarter or eighth of its size where that is large enough for `min_side`.

        Raises:
            UnreadableImageError: as above.
        """
        if file.is_foreign:
            return self._workers.read_stored(file.path, sha256, min_side=min_side)
        return read_stored_image_reduced(file.path, sha256, min_side)

    def see(self, file: PictureFile, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Return a picture upright, as RGB; a JPEG at 1/2, 1/4 or 1/8 where that is enough for `at_least_wh`.

        Raises:
            UnreadableImageError: the file is missing, no picture, damaged, or costs too much to decode.
        """
        if file.is_foreign:
            return self._workers.see_file(file.path, at_least_wh)
        return small_picture(file.path, at_least_wh)

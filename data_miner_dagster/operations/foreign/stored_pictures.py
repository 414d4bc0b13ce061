"""Read picture files. All code reads them through this module, because their origin decides where they are decoded.

Frames of video files were encoded by this package, so this process decodes them. Pictures in folders and pictures that
a user names are foreign data, so worker processes decode them within limits.
"""

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.records import PictureFile, RgbImage, SeenPicture
from data_miner_dagster.media.foreign_pictures import small_picture
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced
from data_miner_dagster.operations.foreign.media_workers import picture_workers


def remedy_for_image(project: str, video_key: str) -> str:
    """Return the remedy for a missing or damaged image of a frame: a command that extracts the video's frames again."""
    return (
        f"run `data-miner backfill --asset frames --project {project} --force --keys-file FILE`, where FILE contains "
        f"{video_key}, to extract its frames again"
    )


class StoredPictures:
    """Reads picture files. Thread-safe. The first foreign picture starts a worker."""

    def __init__(self, config: ExtractionConfig) -> None:
        self._workers = picture_workers(config)

    def __enter__(self) -> "StoredPictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, even those that are busy."""
        self._workers.close()

    @property
    def process_ids(self) -> list[int]:
        """The ids of the current workers."""
        return self._workers.process_ids

    def read(self, file: PictureFile, sha256: str) -> RgbImage:
        """Return a stored image at full size, after checking that its bytes have not changed.

        Raises:
            UnreadableImageError: the file is missing, has other bytes or is not an image, or decoding it exceeds a
                limit or ends the worker.
        """
        if file.is_foreign:
            return self._workers.read_stored(file.path, sha256)
        return read_stored_image(file.path, sha256)

    def read_reduced(self, file: PictureFile, sha256: str, min_side: int) -> RgbImage:
        """Return a stored image, at a half, quarter or eighth of its size if that is large enough for `min_side`.

        `min_side` is the length in pixels to which the caller will resize the image's shorter side.

        Raises:
            UnreadableImageError: the file is missing, has other bytes or is not an image, or decoding it exceeds a
                limit or ends the worker.
        """
        if file.is_foreign:
            return self._workers.read_stored(file.path, sha256, min_side=min_side)
        return read_stored_image_reduced(file.path, sha256, min_side)

    def see(self, file: PictureFile, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Return a picture upright, as RGB, with its full size.

        A JPEG is reduced to 1/2, 1/4 or 1/8 of its size if the result is at least as large as `at_least_wh`. If that
        is None, the full size is kept.

        Raises:
            UnreadableImageError: the file is missing, damaged or not a picture, or decoding it exceeds a limit or ends
                the worker.
        """
        if file.is_foreign:
            return self._workers.see_file(file.path, at_least_wh)
        return small_picture(file.path, at_least_wh)

"""The interface of a reader of picture files, for code that draws or crops them."""

from typing import Protocol

from data_miner_dagster.domain.records import PictureFile, SeenPicture


class PictureReader(Protocol):
    """Reads picture files as people see them, whether or not their bytes are trusted."""

    def see(self, file: PictureFile, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Return the picture upright, as RGB. It may be downscaled, but not below `at_least_wh` (width, height).

        If `at_least_wh` is None, the picture is not downscaled.

        Raises:
            UnreadableImageError: the file is missing or damaged, is not a picture, or takes too long to decode.
        """
        ...
